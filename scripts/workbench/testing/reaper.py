# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a command, and wait for all processes that lose their parent meanwhile, as init does.

Whoever looks whether such a process is still there, as libvirt does, would see it for ever if this
were left to leftovers.py, which adopts them as well. The exit status is that of the command.
"""

import ctypes
import os
import subprocess
import sys

_PR_SET_CHILD_SUBREAPER = 36


def adopt(on=True):
    """Have processes whose parent has ended become children of this one, or no more."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def main():
    """Run the command in sys.argv."""
    adopt()
    with subprocess.Popen(sys.argv[1:]) as child:
        pid = status = None
        while pid != child.pid:
            pid, status = os.wait()
        child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main())
