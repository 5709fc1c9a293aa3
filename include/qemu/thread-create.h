/*
 * Threads whose creation may fail
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QEMU_THREAD_CREATE_H
#define QEMU_THREAD_CREATE_H

#include "qemu/thread.h"

/**
 * qemu_thread_try_create: Like qemu_thread_create(), which aborts on failure
 *
 * For threads that a running guest can do without. The host may be short of
 * memory, or the limit of processes may be reached.
 *
 * Returns: true if the thread has been created, else false, with an error set.
 */
bool qemu_thread_try_create(QemuThread *thread, const char *name,
                            void *(*start_routine)(void *),
                            void *arg, int mode, Error **errp);

#endif
