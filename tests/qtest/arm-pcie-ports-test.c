/*
 * QTest of PCIe root ports on the Arm virt machine
 *
 * How many there can be, and that the machine serves that many: bus numbers,
 * memory map, and I/O windows. There is no guest: the test reads tables and
 * programs ports as firmware does.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/units.h"
#include <libfdt.h>
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "libqtest.h"
#include "hw/nvram/fw_cfg.h"
#include "hw/pci/pci.h"
#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_regs.h"

/* Memory map of the virt machine */
#define FW_CFG_DMA          0x09020010
#define PCIHP               0x090c0000
#define MMIO                0x10000000ull
#define LOW_END             0x40000000ull   /* of what is below RAM */
#define SCRATCH_RAM         0x42000000
#define HIGH_ECAM           0x4010000000ull

#define PIO_SIZE            (64 * KiB)
#define BUS_SIZE            MiB             /* of ECAM */

/* Registers: see docs/specs/acpi_pci_hotplug.rst */
#define PCIHP_UP            (PCIHP + 0x00)
#define PCIHP_DOWN          (PCIHP + 0x04)
#define PCIHP_EJECT         (PCIHP + 0x08)
#define PCIHP_SELECT        (PCIHP + 0x10)

/*
 * What -bios needs is a firmware image; since no instruction is executed, an
 * empty one will do.
 */
#define EMPTY_FIRMWARE      "-bios /dev/null"
#define ACPI_PCI_HOTPLUG    EMPTY_FIRMWARE " -global acpi-ged.acpi-pci-" \
                            "hotplug-with-bridge-support=on"

/* Returns: the path of a new, empty file, to be unlinked */
static char *temporary_file(void)
{
    char *path;
    int fd = g_file_open_tmp("arm-pcie-ports-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    return path;
}

/* --- Machines --- */

/*
 * Returns: the command line of a machine with more @options, each with a comma
 * before, @ports root ports p0, p1... on pcie.0, and @more arguments.
 */
static char *machine_args(const char *options, unsigned ports,
                          const char *more)
{
    GString *args = g_string_new(NULL);

    g_string_printf(args, "-nodefaults -cpu cortex-a57 -machine virt%s",
                    options);
    for (unsigned i = 0; i < ports; i++) {
        g_string_append_printf(args, " -device pcie-root-port,bus=pcie.0,"
                               "id=p%u,chassis=1,slot=%u,multifunction=on,"
                               "addr=%x.%x", i, i, 1 + i / 8, i % 8);
    }
    g_string_append_printf(args, " %s", more ?: "");
    return g_string_free(args, false);
}

static QTestState *machine_start(const char *options, unsigned ports,
                                 const char *more)
{
    g_autofree char *args = machine_args(options, ports, more);

    return qtest_init(args);
}

static uint64_t qom_get_uint(QTestState *qts, const char *path,
                             const char *property)
{
    QDict *response = qtest_qmp(qts, "{'execute': 'qom-get', 'arguments': "
                                "{'path': %s, 'property': %s}}", path,
                                property);
    QNum *number;
    uint64_t value;

    g_assert_true(qdict_haskey(response, "return"));
    number = qobject_to(QNum, qdict_get(response, "return"));
    g_assert_true(qnum_get_try_uint(number, &value));
    qobject_unref(response);
    return value;
}

/* Returns: whether the object at @path has a property whose name is @prefix* */
static bool qom_has(QTestState *qts, const char *path, const char *prefix)
{
    QDict *response = qtest_qmp(qts, "{'execute': 'qom-list', 'arguments': "
                                "{'path': %s}}", path);
    QListEntry *entry;
    bool found = false;

    g_assert_true(qdict_haskey(response, "return"));
    QLIST_FOREACH_ENTRY(qdict_get_qlist(response, "return"), entry) {
        QDict *property = qobject_to(QDict, qlist_entry_obj(entry));

        found |= g_str_has_prefix(qdict_get_str(property, "name"), prefix);
    }
    qobject_unref(response);
    return found;
}

static void ports_check(QTestState *qts, unsigned limit, unsigned count)
{
    g_assert_cmpuint(qom_get_uint(qts, "/machine", "pcie-root-port-limit"), ==,
                     limit);
    g_assert_cmpuint(qom_get_uint(qts, "/machine", "pcie-root-ports"), ==,
                     count);
}

static void assert_same_text(const char *text, const char *expected)
{
    if (strcmp(text, expected)) {
        g_error("QEMU says \"%s\" and not \"%s\"", text, expected);
    }
}

static void assert_device_add_refused(QTestState *qts, const char *driver,
                                      const char *id, const char *bus,
                                      const char *expected)
{
    QDict *response = qtest_qmp(qts, "{'execute': 'device_add', 'arguments': "
                                "{'driver': %s, 'id': %s, 'bus': %s}}",
                                driver, id, bus);

    g_assert_true(qdict_haskey(response, "error"));
    assert_same_text(qdict_get_str(qdict_get_qdict(response, "error"), "desc"),
                     expected);
    qobject_unref(response);
}

/* --- What starts, what does not, and what QEMU says --- */

typedef struct Start {
    const char *name;
    const char *options;        /* of -machine */
    unsigned ports;             /* on pcie.0 */
    const char *more;           /* arguments */
    const char *message;        /* that QEMU prints; NULL if there is none */
    bool refused;
    bool tcg;                   /* needs that accelerator to be built in */
    const char *driver;         /* has to be there */
} Start;

#define PORT(id, bus) " -device pcie-root-port,bus=" bus ",id=" id
#define PXB(id, nr) " -device pxb-pcie,bus=pcie.0,id=" id ",bus_nr=" #nr
#define LAST "-device pcie-root-port,bus=pcie.0,id=last"

#define TOO_MANY(id, count, needed) \
    "PCIe root port '" id "' is one too many: there are " #count ", and the " \
    "limit is " #count " because of 'max-pcie-root-ports=" #count "'; use " \
    "'max-pcie-root-ports=" #needed "' or more"

#define TOO_MANY_HOTPLUG_PORTS(count, limit, cause) \
    "This machine cannot have 'pcie-hotplug-ports=" #count "': the limit is " \
    #limit " PCIe root ports, because of " cause ". Use " \
    "'max-pcie-root-ports=" #count "' or more, or a smaller number"

#define NOT_POSSIBLE(prop, count, limit, cause, remedy) \
    "This machine cannot have '" prop "=" #count "': the limit is " #limit \
    " PCIe root ports, because of " cause ". Use " remedy ", or a smaller " \
    "number"
#define NO_ROOM(prop, count, size, limit) \
    NOT_POSSIBLE(prop, count, limit, "the " #size " MiB of 32-bit memory " \
                 "space that they share", "'highmem=on' and 'highmem-mmio=on'" \
                 " where the CPUs have enough bits of physical address")

#define GICV2M "the 64 message signalled interrupts of a GICv2m"
#define NO_MSI "a lack of message signalled interrupts"
#define ITS "'gic-version=3' and 'msi=its' where the accelerator has both"
#define TOO_FEW_MSIS(prop, count) NOT_POSSIBLE(prop, count, 32, GICV2M, ITS)
#define WITHOUT_MSI(prop, count) NOT_POSSIBLE(prop, count, 0, NO_MSI, ITS)
#define SHARED_LINES(count, limit, cause, remedy) \
    "warning: This machine can serve " #limit " PCIe root ports because of " \
    cause ", and there are " #count ": hotplug behind the surplus ones may " \
    "not work; use " remedy

#define OUT_OF_RANGE(name, value, why, max) \
    "'" name "=" value "' is not possible: " why "; use 0 to " max
#define MAX_OUT_OF_RANGE(value) \
    OUT_OF_RANGE("max-pcie-root-ports", value, "there are 256 bus numbers, " \
                 "and the root bus has one of them", "255")
#define HOTPLUG_OUT_OF_RANGE(value) \
    OUT_OF_RANGE("pcie-hotplug-ports", value, "there is room for eight " \
                 "ports in each of the 31 free slots of the root bus", "248")

#define TOO_FEW_BUSES(bus, bridges, has, why, remedy) \
    "PCIe root bus '" bus "' needs 1 bus number for itself and " #bridges \
    " for the bridges behind it, and has " #has ": " why ". The guest would " \
    "miss what is behind the last bridges. Use " remedy
#define FEWER "fewer bridges or a smaller 'bus-reserve'"
#define LOWER "a smaller 'bus_nr'"
#define IN_THE_WAY(bus, bridges, has, next, nr) \
    TOO_FEW_BUSES(bus, bridges, has, "root bus '" next "' begins at " #nr, \
                  "a greater 'bus_nr' for '" next "', or " FEWER)
#define LOW_ECAM(bus, bridges, has, cause, max, remedy) \
    TOO_FEW_BUSES(bus, bridges, has, \
                  "the machine has 16 in all, with " cause, \
                  "'max-pcie-root-ports=" #max "' or more, or " remedy)

#define SWITCH \
    PORT("a", "pcie.0") " -device x3130-upstream,bus=a,id=up" \
    " -device xio3130-downstream,bus=up,id=d0,chassis=2,slot=0" \
    " -device xio3130-downstream,bus=up,id=d1,chassis=2,slot=1"

static const Start starts[] = {
    /* The limit */
    { "limit/reached", ",max-pcie-root-ports=2", 2 },
    {
        "limit/exceeded", ",max-pcie-root-ports=2", 2, LAST,
        LAST ": " TOO_MANY("last", 2, 3), true
    }, {
        "limit/no-id", ",max-pcie-root-ports=1", 1,
        "-device pcie-root-port,bus=pcie.0",
        "-device pcie-root-port,bus=pcie.0: " TOO_MANY("pcie-root-port", 1, 2),
        true
    }, {
        "limit/reached/pxb", ",max-pcie-root-ports=2", 1,
        PXB("x", 8) PORT("y", "x")
    }, {
        "limit/exceeded/pxb", ",max-pcie-root-ports=2", 1,
        PXB("x", 8) PORT("y", "x") " " LAST,
        LAST ": " TOO_MANY("last", 2, 3), true
    },
    { "limit/248", ",max-pcie-root-ports=248", 248 },
    { "limit/248/automatic", ",gic-version=3", 248 },
    { "limit/248/low-ecam", ",max-pcie-root-ports=248,highmem-ecam=off", 248 },
    { "limit/low-ecam/automatic", ",highmem-ecam=off", 15 },
    { "limit/low-ecam", ",highmem-ecam=off,max-pcie-root-ports=16", 16 },

    {
        "limit/chassis", ",max-pcie-root-ports=2", 0,
        PORT("a", "pcie.0") " " LAST,
        LAST ": Slot 0 of chassis 0 is taken by the port 'a': each port needs "
        "a 'chassis' or 'slot' of its own", true
    },
    {
        /* Slots are 16-bit numbers. */
        "limit/chassis/slots", "", 0,
        PORT("a", "pcie.0,slot=1") PORT("b", "pcie.0,slot=257")
    },

    /* Values */
    {
        "value/max/too-great", ",max-pcie-root-ports=256", 0, NULL,
        MAX_OUT_OF_RANGE("256"), true
    }, {
        "value/max/32-bit", ",max-pcie-root-ports=4294967295", 0, NULL,
        MAX_OUT_OF_RANGE("4294967295"), true
    }, {
        "value/max/negative", ",max-pcie-root-ports=-1", 0, NULL,
        "Parameter 'max-pcie-root-ports' expects uint32_t", true
    }, {
        "value/max/no-number", ",max-pcie-root-ports=all", 0, NULL,
        "Parameter 'max-pcie-root-ports' expects integer", true
    }, {
        "value/hotplug/too-great", ",pcie-hotplug-ports=249", 0, NULL,
        HOTPLUG_OUT_OF_RANGE("249"), true
    }, {
        "value/hotplug/32-bit", ",pcie-hotplug-ports=4294967295", 0, NULL,
        HOTPLUG_OUT_OF_RANGE("4294967295"), true
    },
    { "value/0", ",max-pcie-root-ports=0,pcie-hotplug-ports=0", 0 },
    { "value/hotplug/248", ",gic-version=3,pcie-hotplug-ports=248", 0 },
    {
        "value/hotplug/255", ",pcie-hotplug-ports=248,max-pcie-root-ports=255,"
        "highmem-ecam=off", 0
    },

    /* Ports of the machine, and the limit */
    {
        "hotplug-ports/explicit",
        ",pcie-hotplug-ports=20,max-pcie-root-ports=19", 0, NULL,
        TOO_MANY_HOTPLUG_PORTS(20, 19, "'max-pcie-root-ports=19'"), true
    }, {
        "hotplug-ports/low-ecam", ",pcie-hotplug-ports=16,highmem-ecam=off", 0,
        NULL, TOO_MANY_HOTPLUG_PORTS(16, 15, "the 16 bus numbers of a machine "
                                     "with 'highmem-ecam=off'"), true
    }, {
        "hotplug-ports/highmem", ",pcie-hotplug-ports=16,highmem=off", 0, NULL,
        TOO_MANY_HOTPLUG_PORTS(16, 15, "the 16 bus numbers of a machine with "
                               "'highmem=off'"), true
    }, {
        "hotplug-ports/pa-bits", ",pcie-hotplug-ports=16", 0,
        "-cpu cortex-a53 -m 1G,slots=1,maxmem=1022G",
        TOO_MANY_HOTPLUG_PORTS(16, 15, "the 16 bus numbers of a machine with "
                               "too few bits of physical address"), true
    }, {
        "hotplug-ports/32-bit", ",pcie-hotplug-ports=16", 0,
        "-S -accel tcg -cpu cortex-a15 " EMPTY_FIRMWARE,
        TOO_MANY_HOTPLUG_PORTS(16, 15, "the 16 bus numbers of a machine with "
                               "firmware for 32-bit CPUs"), true, .tcg = true
    }, {
        "hotplug-ports/fit", ",pcie-hotplug-ports=20,max-pcie-root-ports=21,"
        "highmem-ecam=off", 1
    }, {
        "hotplug-ports/one-more", ",pcie-hotplug-ports=20,"
        "max-pcie-root-ports=20,highmem-ecam=off", 0,
        LAST, LAST ": " TOO_MANY("last", 20, 21), true
    }, {
        "hotplug-ports/address", ",pcie-hotplug-ports=20", 0,
        "-device virtio-rng-pci,bus=pcie.0,addr=1f",
        "-device virtio-rng-pci,bus=pcie.0,addr=1f: PCI: slot 31 function 0 "
        "not available for virtio-rng-pci, in use by pcie-root-port,"
        "id=hotplug0", true
    }, {
        "hotplug-ports/id", ",pcie-hotplug-ports=20", 0,
        "-device virtio-rng-pci,id=hotplug0",
        "-device virtio-rng-pci,id=hotplug0: Duplicate device ID 'hotplug0'",
        true
    },

    /* 32-bit memory space */
    {
        "room/highmem/200", ",highmem=off,max-pcie-root-ports=200", 0, NULL,
        NO_ROOM("max-pcie-root-ports", 200, 639, 127), true
    }, {
        "room/highmem/128", ",highmem=off,max-pcie-root-ports=128", 0, NULL,
        NO_ROOM("max-pcie-root-ports", 128, 639, 127), true
    },
    { "room/highmem/127", ",highmem=off,max-pcie-root-ports=127", 127 },
    {
        "room/highmem-mmio/188", ",highmem-mmio=off,max-pcie-root-ports=188",
        0, NULL, NO_ROOM("max-pcie-root-ports", 188, 751, 187), true
    },
    {
        "room/highmem-mmio/hotplug-ports",
        ",gic-version=3,highmem-mmio=off,pcie-hotplug-ports=188", 0, NULL,
        NO_ROOM("pcie-hotplug-ports", 188, 751, 187), true
    },
    { "room/highmem-mmio/187", ",highmem-mmio=off,max-pcie-root-ports=187" },
    {
        "room/highmem-mmio/automatic", ",gic-version=3,highmem-mmio=off", 187,
        LAST,
        "warning: This machine can serve 187 PCIe root ports because of the "
        "751 MiB of 32-bit memory space that they share, and there are 188: "
        "devices behind the surplus ones may not work; use 'highmem=on' and "
        "'highmem-mmio=on' where the CPUs have enough bits of physical address"
    },

    /* Interrupts */
    { "msi/gicv2", ",gic-version=2,max-pcie-root-ports=32", 32 },
    {
        "msi/gicv2/33", ",gic-version=2,max-pcie-root-ports=33", 0, NULL,
        TOO_FEW_MSIS("max-pcie-root-ports", 33), true
    }, {
        "msi/gicv2/hotplug-ports", ",gic-version=2,pcie-hotplug-ports=33", 0,
        NULL, TOO_FEW_MSIS("pcie-hotplug-ports", 33), true
    }, {
        /* They do not change the GIC, which is a GICv2 by default. */
        "msi/default/hotplug-ports", ",pcie-hotplug-ports=33", 0, NULL,
        TOO_MANY_HOTPLUG_PORTS(33, 32, GICV2M), true
    }, {
        "msi/default/exceeded",
        ",max-pcie-root-ports=32,pcie-hotplug-ports=33", 0, NULL,
        TOO_MANY_HOTPLUG_PORTS(33, 32, "'max-pcie-root-ports=32'"), true
    }, {
        "msi/default/low-ecam", ",highmem-ecam=off,pcie-hotplug-ports=40", 0,
        NULL, TOO_MANY_HOTPLUG_PORTS(40, 15, "the 16 bus numbers of a machine "
                                     "with 'highmem-ecam=off'"), true
    }, {
        "msi/gicv2/exceeded", ",gic-version=2,max-pcie-root-ports=32,"
        "pcie-hotplug-ports=33", 0, NULL,
        NOT_POSSIBLE("pcie-hotplug-ports", 33, 32, "'max-pcie-root-ports=32'",
                     ITS ", and 'max-pcie-root-ports=33' or more"), true
    },
    { "msi/default/max", ",max-pcie-root-ports=33,pcie-hotplug-ports=33", 0 },
    { "msi/gicv2/automatic/32", ",gic-version=2", 32 },
    {
        "msi/gicv2/automatic", ",gic-version=2", 33, NULL,
        SHARED_LINES(33, 32, GICV2M, ITS)
    }, {
        "msi/default/automatic", "", 33, NULL,
        SHARED_LINES(33, 32, GICV2M, "'max-pcie-root-ports=33' or more")
    }, {
        "msi/gicv2m", ",gic-version=3,msi=gicv2m,max-pcie-root-ports=33", 0,
        NULL, TOO_FEW_MSIS("max-pcie-root-ports", 33), true
    }, {
        "msi/off", ",msi=off,max-pcie-root-ports=1", 0, NULL,
        WITHOUT_MSI("max-pcie-root-ports", 1), true
    }, {
        "msi/off/hotplug-ports", ",gic-version=3,msi=off,pcie-hotplug-ports=4",
        0, NULL, WITHOUT_MSI("pcie-hotplug-ports", 4), true
    },
    { "msi/off/automatic/none", ",msi=off" },
    {
        "msi/off/automatic", ",msi=off", 2, NULL,
        SHARED_LINES(2, 0, NO_MSI, ITS)
    }, {
        "msi/its-off", ",gic-version=3,its=off,max-pcie-root-ports=8", 0, NULL,
        WITHOUT_MSI("max-pcie-root-ports", 8), true
    }, {
        "msi/gicv5", ",gic-version=x-5,max-pcie-root-ports=8", 0, "-cpu max",
        WITHOUT_MSI("max-pcie-root-ports", 8), true, .driver = "arm-gicv5"
    }, {
        /* with a GICv3 and, with TCG, without an ITS */
        "msi/old-machine", ",gic-version=3,max-pcie-root-ports=8", 0,
        "-machine virt-6.1", WITHOUT_MSI("max-pcie-root-ports", 8), true
    },
    /* A GICv4 has no room for the redistributors of so many CPUs. */
    {
        "gic/virtualization", ",virtualization=on,max-pcie-root-ports=33", 0,
        "-smp 318"
    },

    /* Bus numbers */
    {
        "buses/low-ecam", ",highmem-ecam=off", 16, NULL,
        "warning: " LOW_ECAM("pcie.0", 16, 16, "'highmem-ecam=off'", 16,
                             FEWER)
    }, {
        /* With so many, this is also a matter of interrupts. */
        "buses/low-ecam/40", ",highmem-ecam=off", 40, NULL,
        "warning: " LOW_ECAM("pcie.0", 40, 16, "'highmem-ecam=off'", 40,
                             FEWER)
    }, {
        "buses/highmem", ",highmem=off", 16, NULL,
        "warning: " LOW_ECAM("pcie.0", 16, 16, "'highmem=off'", 16, FEWER)
    },
    { "buses/pxb/fits", ",max-pcie-root-ports=20", 2, PXB("x", 3) },
    {
        "buses/pxb", "", 3, PXB("x", 3),
        "warning: " IN_THE_WAY("pcie.0", 3, 3, "x", 3)
    }, {
        "buses/pxb/refused", ",max-pcie-root-ports=20", 3, PXB("x", 3),
        IN_THE_WAY("pcie.0", 3, 3, "x", 3), true
    }, {
        /* The order in which they are made does not matter. */
        "buses/pxb/pxb", "", 1, PXB("y", 12) PXB("x", 10) PORT("a", "x")
        PORT("b", "x,chassis=2"),
        "warning: " IN_THE_WAY("x", 2, 2, "y", 12)
    }, {
        "buses/pxb/end", "", 0, PXB("x", 254) PORT("a", "x")
        PORT("b", "x,chassis=2"),
        "warning: " TOO_FEW_BUSES("x", 2, 2, "a PCIe hierarchy has 256 in "
                                  "all", LOWER ", or " FEWER)
    },
    {
        "buses/pxb/all", ",max-pcie-root-ports=255", 240, PXB("x", 241)
        " -device pcie-root-port,bus=x,bus-reserve=13"
    }, {
        "buses/pxb/low-ecam/last", ",highmem-ecam=off", 14, PXB("x", 15)
    }, {
        "buses/pxb/low-ecam", ",highmem-ecam=off", 14,
        PXB("x", 15) PORT("a", "x"),
        "warning: " LOW_ECAM("x", 1, 1, "'highmem-ecam=off'", 16,
                             LOWER ", or " FEWER)
    }, {
        "buses/pxb/low-ecam/beyond/empty", ",highmem-ecam=off", 0, PXB("x", 20),
        "warning: PCIe root bus 'x' needs 1 bus number for itself, and has 0: "
        "the machine has 16 in all, with 'highmem-ecam=off'. The guest would "
        "miss what is behind the last bridges. Use 'max-pcie-root-ports=20' or "
        "more, or " LOWER
    }, {
        /* More than there is memory space for is no advice. */
        "buses/pxb/highmem/beyond", ",highmem=off", 0,
        PXB("x", 130) PORT("a", "x"),
        "warning: " TOO_FEW_BUSES("x", 1, 0, "the machine has 16 in all, with "
                                  "'highmem=off'", LOWER)
    }, {
        "buses/pxb/low-ecam/beyond", ",highmem-ecam=off", 0,
        PXB("x", 20) PORT("a", "x"),
        "warning: " LOW_ECAM("x", 1, 0, "'highmem-ecam=off'", 21, LOWER)
    }, {
        "buses/pxb/low-ecam/beyond/refused",
        ",highmem-ecam=off,max-pcie-root-ports=15", 0,
        PXB("x", 20) PORT("a", "x"),
        LOW_ECAM("x", 1, 0, "'highmem-ecam=off'", 21, LOWER), true
    }, {
        "buses/pxb/low-ecam/served", ",highmem-ecam=off,max-pcie-root-ports=21",
        0, PXB("x", 20) PORT("a", "x")
    },
    { "buses/reserve/fits", "", 0, PXB("x", 12) " " LAST ",bus-reserve=10" },
    {
        "buses/reserve", "", 0, PXB("x", 11) " " LAST ",bus-reserve=10",
        "warning: " IN_THE_WAY("pcie.0", 11, 11, "x", 11)
    }, {
        "buses/reserve/refused", ",max-pcie-root-ports=1", 0,
        PXB("x", 11) " " LAST ",bus-reserve=10",
        IN_THE_WAY("pcie.0", 11, 11, "x", 11), true
    },
    { "buses/reserve/all", "", 0, LAST ",bus-reserve=254" },
    {
        "buses/reserve/too-many", "", 0, LAST ",bus-reserve=255",
        "warning: " TOO_FEW_BUSES("pcie.0", 256, 256, "a PCIe hierarchy "
                                  "has 256 in all", FEWER)
    }, {
        "buses/reserve/32-bit", "", 0, LAST ",bus-reserve=4294967294",
        "warning: " TOO_FEW_BUSES("pcie.0", 4294967295, 256, "a PCIe "
                                  "hierarchy has 256 in all", FEWER)
    },
    { "buses/switch/fits", ",max-pcie-root-ports=1", 0, SWITCH PXB("x", 5) },
    {
        "buses/switch", "", 0, SWITCH PXB("x", 4),
        "warning: " IN_THE_WAY("pcie.0", 4, 4, "x", 4)
    }, {
        "buses/switch/refused", ",max-pcie-root-ports=1", 0,
        SWITCH PXB("x", 4), IN_THE_WAY("pcie.0", 4, 4, "x", 4), true
    },
};

/* The machine starts, or does not, and QEMU says just that. */
static void test_start(const void *data)
{
    const Start *start = data;
    g_autofree char *args = machine_args(start->options, start->ports,
                                         start->more);
    const char *binary = qtest_qemu_binary(NULL);
    g_autofree char *program = g_path_get_basename(binary);
    g_autofree char *command = NULL, *expected = NULL, *errors = NULL;
    /* QEMU replaces the file: with /dev/null, root would lose that. */
    g_autofree char *dtb = temporary_file();
    int status;

    /* Should the machine start, it dumps a device tree and exits. */
    command = g_strdup_printf("%s %s -machine dumpdtb=%s -accel qtest "
                              "-display none", binary, args, dtb);
    g_assert_true(g_spawn_command_line_sync(command, NULL, &errors, &status,
                                            NULL));
    unlink(dtb);
    expected = start->message
        ? g_strdup_printf("%s: %s\n", program, start->message) : g_strdup("");
    assert_same_text(errors, expected);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==,
                    start->refused ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* --- Properties --- */

typedef struct Count {
    const char *name;
    const char *options;
    unsigned ports;
    const char *more;
    unsigned limit, count;
    bool tcg;
    const char *driver;         /* has to be there */
} Count;

static const Count counts[] = {
    { "gicv2", ",gic-version=2", 0, NULL, 32, 0 },
    { "gicv3", ",gic-version=3", 0, NULL, 255, 0 },
    { "gicv2m", ",gic-version=3,msi=gicv2m", 32, NULL, 32, 32 },
    { "gicv5", ",gic-version=x-5", 0, "-cpu max", 0, 0, .driver = "arm-gicv5" },
    { "msi-off", ",gic-version=3,msi=off", 0, NULL, 0, 0 },
    { "its-off/gicv2", ",gic-version=2,its=off", 0, NULL, 32, 0 },
    { "its-off/gicv3", ",gic-version=3,its=off", 0, NULL, 0, 0 },
    { "firmware", ",gic-version=3", 0, EMPTY_FIRMWARE, 255, 0 },
    { "low-ecam", ",highmem-ecam=off", 2, NULL, 15, 2 },
    { "highmem", ",highmem=off", 0, NULL, 15, 0 },
    { "highmem-mmio", ",gic-version=3,highmem-mmio=off", 0, NULL, 187, 0 },
    { "pa-bits", "", 0, "-cpu cortex-a53 -m 1G,slots=1,maxmem=1022G", 15, 0 },
    {
        "32-bit", "", 0, "-S -accel tcg -cpu cortex-a15 " EMPTY_FIRMWARE, 15, 0,
        .tcg = true
    },
    { "explicit", ",max-pcie-root-ports=3", 1, NULL, 3, 1 },
    { "explicit/low-ecam", ",max-pcie-root-ports=99,highmem-ecam=off", 1, NULL,
      99, 1 },
    { "248", ",gic-version=3", 248, NULL, 255, 248 },
    { "pxb", "", 2, PXB("x", 8) PORT("y", "x"), 32, 3 },
    { "two-pxb", "", 2, PXB("x", 8) PXB("y", 20) PORT("z", "y"), 32, 3 },
    /* Behind a port, there is no place of the machine taken. */
    {
        "nested", ",max-pcie-root-ports=1", 1, PORT("nested", "p0,chassis=2"),
        1, 1
    },
    { "switch", ",max-pcie-root-ports=1", 0, SWITCH, 1, 1 },
    { "hotplug-ports", ",pcie-hotplug-ports=20", 1, NULL, 32, 21 },
    {
        "cxl", ",cxl=on", 1, "-device pxb-cxl,bus=pcie.0,id=x,bus_nr=12 "
        "-device cxl-rp,port=0,bus=x,id=y,chassis=2", 32, 2,
        .driver = "cxl-rp"
    },
};

static void test_count(const void *data)
{
    const Count *c = data;
    QTestState *qts = machine_start(c->options, c->ports, c->more);
    uint64_t asked = qom_get_uint(qts, "/machine", "max-pcie-root-ports");
    const uint64_t values[] = { asked, c->limit };

    ports_check(qts, c->limit, c->count);
    qtest_quit(qts);

    /* What is read can be set, and the machine then reports the same. */
    for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
        g_autofree char *options = g_strdup_printf(
            "%s,max-pcie-root-ports=%" PRIu64, c->options, values[i]);

        qts = machine_start(options, c->ports, c->more);
        ports_check(qts, c->limit, c->count);
        g_assert_cmpuint(qom_get_uint(qts, "/machine", "max-pcie-root-ports"),
                         ==, values[i]);
        qtest_quit(qts);
    }
}

/* Type of the machine that is called @alias */
static char *machine_type(QTestState *qts, const char *alias)
{
    QDict *response = qtest_qmp(qts, "{'execute': 'query-machines'}");
    QListEntry *entry;
    char *type = NULL;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(response, "return"), entry) {
        QDict *machine = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_strcmp0(qdict_get_try_str(machine, "alias"), alias) == 0) {
            type = g_strdup_printf("%s-machine",
                                   qdict_get_str(machine, "name"));
        }
    }
    g_assert_nonnull(type);
    qobject_unref(response);
    return type;
}

/* Management software finds out here, without a machine. */
static void test_properties(void)
{
    static const char * const names[] = {
        "max-pcie-root-ports", "pcie-root-port-limit", "pcie-root-ports",
        "pcie-hotplug-ports"
    };
    QTestState *qts = qtest_init("-machine none");
    g_autofree char *type = machine_type(qts, "virt");
    QDict *response = qtest_qmp(qts, "{'execute': 'qom-list-properties', "
                                "'arguments': {'typename': %s}}", type);
    unsigned found = 0;
    QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(response, "return"), entry) {
        QDict *property = qobject_to(QDict, qlist_entry_obj(entry));

        for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
            if (g_str_equal(qdict_get_str(property, "name"), names[i])) {
                g_assert_cmpstr(qdict_get_str(property, "type"), ==, "uint32");
                g_assert_true(qdict_haskey(property, "description"));
                found++;
            }
        }
    }
    g_assert_cmpuint(found, ==, ARRAY_SIZE(names));
    qobject_unref(response);
    qtest_quit(qts);
}

/* --- Configuration space --- */

static uint64_t config_address(uint64_t ecam, unsigned bus, unsigned slot,
                               unsigned function)
{
    return ecam + bus * BUS_SIZE + (PCI_DEVFN(slot, function) << 12);
}

/* Let the bridge at @config lead to bus @nr, and to no other */
static void bridge_set_bus(QTestState *qts, uint64_t config, uint8_t nr)
{
    qtest_writeb(qts, config + PCI_SECONDARY_BUS, nr);
    qtest_writeb(qts, config + PCI_SUBORDINATE_BUS, nr);
}

static uint32_t device_id(QTestState *qts, uint64_t config)
{
    return qtest_readl(qts, config + PCI_VENDOR_ID);
}

#define ROOT_PORT_ID (PCI_DEVICE_ID_REDHAT_PCIE_RP << 16 | PCI_VENDOR_ID_REDHAT)
#define TESTDEV_ID   (PCI_DEVICE_ID_REDHAT_TEST << 16 | PCI_VENDOR_ID_REDHAT)
#define NOTHING      UINT32_MAX

/* --- Memory map --- */

/* What the guest is told of the host bridge */
typedef struct HostBridge {
    uint64_t ecam, ecam_size;
    uint64_t pio, pio_size;
    uint64_t mmio, mmio_size;
    unsigned first_bus, last_bus;
} HostBridge;

static const void *fdt_find(const void *fdt, const char *property, int *size)
{
    int node = fdt_node_offset_by_compatible(fdt, -1, "pci-host-ecam-generic");
    const void *data;

    g_assert_cmpint(node, >, 0);
    data = fdt_getprop(fdt, node, property, size);
    g_assert_nonnull(data);
    return data;
}

static void fdt_read_host_bridge(const void *fdt, HostBridge *host)
{
    const uint8_t *reg, *buses, *ranges;
    int size;

    reg = fdt_find(fdt, "reg", &size);
    g_assert_cmpint(size, ==, 16);
    host->ecam = ldq_be_p(reg);
    host->ecam_size = ldq_be_p(reg + 8);

    buses = fdt_find(fdt, "bus-range", &size);
    g_assert_cmpint(size, ==, 8);
    host->first_bus = ldl_be_p(buses);
    host->last_bus = ldl_be_p(buses + 4);

    ranges = fdt_find(fdt, "ranges", &size);
    g_assert_cmpint(size % 28, ==, 0);
    for (const uint8_t *r = ranges; r < ranges + size; r += 28) {
        uint64_t pci_address = ldq_be_p(r + 4);
        uint64_t address = ldq_be_p(r + 12);

        switch (ldl_be_p(r) >> 24 & 3) {
        case 1: /* I/O */
            g_assert_cmphex(pci_address, ==, 0);
            host->pio = address;
            host->pio_size = ldq_be_p(r + 20);
            break;
        case 2: /* 32-bit memory */
            g_assert_cmphex(pci_address, ==, address);
            host->mmio = address;
            host->mmio_size = ldq_be_p(r + 20);
            break;
        case 3: /* 64-bit memory */
            g_assert_cmphex(pci_address, ==, address);
            g_assert_cmphex(address, >=, 4 * GiB);
            break;
        }
    }
}

static void dtb_read_host_bridge(QTestState *qts, HostBridge *host)
{
    g_autofree char *path = temporary_file();
    g_autofree char *dtb = NULL;
    gsize size;

    qtest_qmp_assert_success(qts, "{'execute': 'dumpdtb', 'arguments': "
                             "{'filename': %s}}", path);
    g_assert_true(g_file_get_contents(path, &dtb, &size, NULL));
    unlink(path);
    g_assert_cmpint(fdt_check_full(dtb, size), ==, 0);
    fdt_read_host_bridge(dtb, host);
}

static void fw_cfg_read(QTestState *qts, uint16_t key, void *data,
                        uint32_t size)
{
    const uint64_t buffer = SCRATCH_RAM + 0x1000;
    const uint64_t request_be = cpu_to_be64(SCRATCH_RAM);
    FWCfgDmaAccess request = {
        .control = cpu_to_be32(key << 16 | FW_CFG_DMA_CTL_SELECT |
                               FW_CFG_DMA_CTL_READ),
        .length = cpu_to_be32(size),
        .address = cpu_to_be64(buffer),
    };

    qtest_memwrite(qts, SCRATCH_RAM, &request, sizeof(request));
    qtest_memwrite(qts, FW_CFG_DMA, &request_be, sizeof(request_be));
    qtest_memread(qts, SCRATCH_RAM, &request, sizeof(request));
    g_assert_cmphex(request.control, ==, 0);
    qtest_bufread(qts, buffer, data, size);
}

static uint8_t *fw_cfg_file(QTestState *qts, const char *name, uint32_t *size)
{
    uint32_t count;

    fw_cfg_read(qts, FW_CFG_FILE_DIR, &count, sizeof(count));
    count = be32_to_cpu(count);
    for (unsigned i = 0; i < count; i++) {
        g_autofree char *directory = NULL;
        size_t offset = sizeof(count) + i * sizeof(FWCfgFile);
        FWCfgFile file;
        uint8_t *data;

        directory = g_malloc(offset + sizeof(file));
        fw_cfg_read(qts, FW_CFG_FILE_DIR, directory, offset + sizeof(file));
        memcpy(&file, directory + offset, sizeof(file));
        if (strcmp(file.name, name)) {
            continue;
        }
        *size = be32_to_cpu(file.size);
        data = g_malloc(*size);
        fw_cfg_read(qts, be16_to_cpu(file.select), data, *size);
        return data;
    }
    g_error("fw_cfg has no file %s", name);
}

#define MCFG_LENGTH 60

static void mcfg_check(QTestState *qts, const HostBridge *host)
{
    uint32_t size;
    g_autofree uint8_t *tables = fw_cfg_file(qts, "etc/acpi/tables", &size);
    unsigned found = 0;

    for (uint8_t *t = tables; t + MCFG_LENGTH <= tables + size; t++) {
        if (memcmp(t, "MCFG", 4) || ldl_le_p(t + 4) != MCFG_LENGTH) {
            continue;
        }
        g_assert_cmphex(ldq_le_p(t + 44), ==, host->ecam);
        g_assert_cmpuint(lduw_le_p(t + 52), ==, 0); /* segment */
        g_assert_cmpuint(t[54], ==, host->first_bus);
        g_assert_cmpuint(t[55], ==, host->last_bus);
        found++;
    }
    g_assert_cmpuint(found, ==, 1);
}

typedef struct Layout {
    unsigned ports;             /* max-pcie-root-ports; 0: not set */
    const char *options;
    unsigned buses;
    bool high;                  /* ECAM */
} Layout;

static const Layout layouts[] = {
    { 0, "", 256, true },
    { 255, "", 256, true },
    { 0, ",highmem-ecam=off", 16 },
    { 15, ",highmem-ecam=off", 16 },
    { 16, ",highmem-ecam=off", 32 },
    { 31, ",highmem-ecam=off", 32 },
    { 32, ",highmem-ecam=off", 64 },
    { 64, ",highmem-ecam=off", 128 },
    { 127, ",highmem-ecam=off", 128 },
    { 128, ",highmem-ecam=off", 256 },
    { 255, ",highmem-ecam=off", 256 },
    { 0, ",highmem=off", 16 },
    { 127, ",highmem=off", 128 },
};

/* What the guest is told is complete, without gaps, and true. */
static void test_layout(const void *data)
{
    const Layout *layout = data;
    g_autofree char *options = g_strdup_printf("%s,max-pcie-root-ports=%u",
                                               layout->options, layout->ports);
    QTestState *qts = machine_start(options, 0, EMPTY_FIRMWARE
                                    PORT("a", "pcie.0,addr=1")
                                    " -device pci-testdev,bus=a");
    uint64_t port, last;
    HostBridge host = { };

    dtb_read_host_bridge(qts, &host);
    g_assert_cmpuint(host.first_bus, ==, 0);
    g_assert_cmpuint(host.last_bus, ==, layout->buses - 1);
    g_assert_cmphex(host.ecam_size, ==, layout->buses * BUS_SIZE);
    g_assert_cmphex(host.ecam % host.ecam_size, ==, 0);
    g_assert_cmphex(host.mmio, ==, MMIO);
    g_assert_cmphex(host.mmio + host.mmio_size, ==, host.pio);
    g_assert_cmphex(host.pio_size, ==, PIO_SIZE);
    if (layout->high) {
        g_assert_cmphex(host.ecam, ==, HIGH_ECAM);
        g_assert_cmphex(host.pio + host.pio_size, ==,
                        LOW_END - 16 * BUS_SIZE);
    } else {
        g_assert_cmphex(host.pio + host.pio_size, ==, host.ecam);
        g_assert_cmphex(host.ecam + host.ecam_size, ==, LOW_END);
    }
    mcfg_check(qts, &host);

    /* The last bus has a device if, and only if, a bridge leads there. */
    port = config_address(host.ecam, 0, 1, 0);
    last = config_address(host.ecam, host.last_bus, 0, 0);
    g_assert_cmphex(device_id(qts, port), ==, ROOT_PORT_ID);
    g_assert_cmphex(device_id(qts, last), ==, NOTHING);
    bridge_set_bus(qts, port, host.last_bus);
    g_assert_cmphex(device_id(qts, last), ==, TESTDEV_ID);
    g_assert_cmphex(device_id(qts, last - BUS_SIZE), ==, NOTHING);
    qtest_quit(qts);
}

/* --- What ports reserve --- */

typedef struct Reserve {
    const char *name;
    const char *options;
    const char *more;
    const char *port;           /* id */
    uint8_t slot;
    bool cap;                   /* the port has the capability */
    uint64_t io;                /* io-reserve */
    uint32_t bus;               /* bus-reserve */
} Reserve;

#define NOT_SET         UINT64_MAX
#define BUS_NOT_SET     UINT32_MAX

#define RESERVING_PORT(more) "-device pcie-root-port,id=a,addr=1" more

static const Reserve reserves[] = {
    { "automatic", "", RESERVING_PORT(""), "a", 1, false, NOT_SET },
    {
        "max/8", ",max-pcie-root-ports=8", RESERVING_PORT(""), "a", 1, false,
        NOT_SET
    }, {
        "max/15", ",max-pcie-root-ports=15", RESERVING_PORT(""), "a", 1, false,
        NOT_SET
    }, {
        "max/16", ",max-pcie-root-ports=16", RESERVING_PORT(""), "a", 1, true,
        0, BUS_NOT_SET
    }, {
        "max/32", ",max-pcie-root-ports=32", RESERVING_PORT(""), "a", 1, true,
        0, BUS_NOT_SET
    }, {
        "explicit/4K", ",max-pcie-root-ports=32",
        RESERVING_PORT(",io-reserve=4K"), "a", 1, true, 4 * KiB, BUS_NOT_SET
    }, {
        "explicit/0", "", RESERVING_PORT(",io-reserve=0"), "a", 1, true, 0,
        BUS_NOT_SET
    }, {
        "bus/8", ",max-pcie-root-ports=8", RESERVING_PORT(",bus-reserve=5"),
        "a", 1, true, NOT_SET, 5
    }, {
        "bus/32", ",max-pcie-root-ports=32", RESERVING_PORT(",bus-reserve=5"),
        "a", 1, true, 0, 5
    }, {
        "explicit/global", ",max-pcie-root-ports=32", RESERVING_PORT("")
        " -global pcie-root-port.io-reserve=4K", "a", 1, true, 4 * KiB,
        BUS_NOT_SET
    }, {
        "hotplug-ports/1", ",pcie-hotplug-ports=1", NULL, "hotplug0", 31, true,
        0, BUS_NOT_SET
    }, {
        "hotplug-ports/20", ",pcie-hotplug-ports=20", NULL, "hotplug0", 31,
        true, 0, BUS_NOT_SET
    }, {
        /* Only those of the machine are without. */
        "hotplug-ports/other", ",pcie-hotplug-ports=20", RESERVING_PORT(""),
        "a", 1, false, NOT_SET
    }, {
        "hotplug-ports/max", ",pcie-hotplug-ports=1,max-pcie-root-ports=16",
        NULL, "hotplug0", 31, true, 0, BUS_NOT_SET
    },
};

/* Returns: offset of the capability of reservations; 0 if there is none */
static uint8_t reserve_cap_find(QTestState *qts, uint64_t config)
{
    uint8_t offset = qtest_readb(qts, config + PCI_CAPABILITY_LIST);

    while (offset) {
        uint64_t cap = config + offset;

        if (qtest_readb(qts, cap + PCI_CAP_LIST_ID) == PCI_CAP_ID_VNDR &&
            qtest_readb(qts, cap + REDHAT_PCI_CAP_TYPE_OFFSET) ==
            REDHAT_PCI_CAP_RESOURCE_RESERVE) {
            return offset;
        }
        offset = qtest_readb(qts, cap + PCI_CAP_LIST_NEXT);
    }
    return 0;
}

static void io_window_check(QTestState *qts, uint64_t config, bool usable)
{
    uint16_t command;

    if (!usable) {
        g_assert_cmphex(qtest_readw(qts, config + PCI_IO_BASE), ==, 0);
    }
    qtest_writeb(qts, config + PCI_IO_BASE, 0xff);
    qtest_writeb(qts, config + PCI_IO_LIMIT, 0xff);
    g_assert_cmphex(qtest_readw(qts, config + PCI_IO_BASE), ==,
                    usable ? 0xf0f0 : 0);

    command = qtest_readw(qts, config + PCI_COMMAND);
    qtest_writew(qts, config + PCI_COMMAND, command | PCI_COMMAND_IO);
    g_assert_cmphex(qtest_readw(qts, config + PCI_COMMAND) & PCI_COMMAND_IO,
                    ==, usable ? PCI_COMMAND_IO : 0);
}

/* Firmware finds here what to set aside for a port. */
static void test_reserve(const void *data)
{
    const Reserve *r = data;
    QTestState *qts = machine_start(r->options, 0, r->more);
    uint64_t config = config_address(HIGH_ECAM, 0, r->slot, 0);
    uint8_t offset = reserve_cap_find(qts, config);
    g_autofree char *path = g_strdup_printf("/machine/peripheral/%s", r->port);

    g_assert_cmphex(device_id(qts, config), ==, ROOT_PORT_ID);
    g_assert_cmphex(qom_get_uint(qts, path, "io-reserve"), ==, r->io);
    g_assert_cmpint(!!offset, ==, r->cap);
    if (r->cap) {
        uint64_t cap = config + offset;

        g_assert_cmphex(qtest_readq(qts, cap + REDHAT_PCI_CAP_RES_RESERVE_IO),
                        ==, r->io);
        g_assert_cmphex(qtest_readl(qts,
                                    cap + REDHAT_PCI_CAP_RES_RESERVE_BUS_RES),
                        ==, r->bus);
    }

    io_window_check(qts, config, r->io);
    qtest_system_reset(qts);
    io_window_check(qts, config, r->io);
    qtest_quit(qts);
}

/* What the machine was laid out for stays. */
static void test_fixed(void)
{
    static const char *const names[] = {
        "max-pcie-root-ports", "pcie-hotplug-ports"
    };
    QTestState *qts = machine_start(",max-pcie-root-ports=3", 1, NULL);

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        QDict *response = qtest_qmp(qts, "{'execute': 'qom-set', 'arguments': "
                                    "{'path': '/machine', 'property': %s, "
                                    "'value': 2}}", names[i]);
        g_autofree char *expected = g_strdup_printf(
            "'%s' cannot be changed after the machine has been initialized; "
            "use -machine", names[i]);

        assert_same_text(qdict_get_str(qdict_get_qdict(response, "error"),
                                       "desc"), expected);
        qobject_unref(response);
    }
    ports_check(qts, 3, 1);
    qtest_quit(qts);
}

/* --- Hotplug of ports --- */

static void port_plug(QTestState *qts, const char *id, unsigned slot)
{
    g_autofree char *address = g_strdup_printf("%x", slot);

    qtest_qmp_assert_success(qts, "{'execute': 'device_add', 'arguments': "
                             "{'driver': 'pcie-root-port', 'id': %s, "
                             "'bus': 'pcie.0', 'addr': %s, 'chassis': %u}}",
                             id, address, slot);
    /* The guest is told. */
    qtest_writel(qts, PCIHP_SELECT, 0);
    g_assert_cmphex(qtest_readl(qts, PCIHP_UP), ==, 1u << slot);
}

/* Wait for the event that @id is gone */
static void wait_deleted(QTestState *qts, const char *id)
{
    bool found = false;

    while (!found) {
        QDict *event = qtest_qmp_eventwait_ref(qts, "DEVICE_DELETED");
        QDict *data = qdict_get_qdict(event, "data");

        found = !g_strcmp0(qdict_get_try_str(data, "device"), id);
        qobject_unref(event);
    }
}

/* Ask for the removal of a port, and do what the AML does then */
static void port_unplug(QTestState *qts, const char *id, unsigned slot)
{
    qtest_qmp_device_del_send(qts, id);
    qtest_writel(qts, PCIHP_SELECT, 0);
    g_assert_cmphex(qtest_readl(qts, PCIHP_DOWN), ==, 1u << slot);
    qtest_writel(qts, PCIHP_EJECT, 1u << slot);
    wait_deleted(qts, id);
}

static void test_hotplug_explicit(void)
{
    QTestState *qts = machine_start(",max-pcie-root-ports=3", 1,
                                    ACPI_PCI_HOTPLUG);
    uint64_t config = config_address(HIGH_ECAM, 0, 5, 0);

    ports_check(qts, 3, 1);
    port_plug(qts, "a", 4);
    port_plug(qts, "b", 5);
    ports_check(qts, 3, 3);

    for (unsigned i = 0; i < 2; i++) {
        assert_device_add_refused(qts, "pcie-root-port", "c", "pcie.0",
                                  TOO_MANY("c", 3, 4));
        g_assert_false(qom_has(qts, "/machine/peripheral", "c"));
        ports_check(qts, 3, 3);
    }

    /* Not a port of the machine */
    qtest_qmp_device_add(qts, "virtio-rng-pci", "rng", "{'bus': 'a'}");
    qtest_qmp_device_add(qts, "pcie-root-port", "nested",
                         "{'bus': 'p0', 'chassis': 9}");
    ports_check(qts, 3, 3);

    /* A port can be removed although its window is open. */
    bridge_set_bus(qts, config, 1);
    qtest_writel(qts, config + PCI_MEMORY_BASE, 0x10001000);
    qtest_writew(qts, config + PCI_COMMAND, PCI_COMMAND_MEMORY);
    port_unplug(qts, "b", 5);
    g_assert_cmphex(device_id(qts, config), ==, NOTHING);
    ports_check(qts, 3, 2);
    port_plug(qts, "c", 5);
    g_assert_cmphex(device_id(qts, config), ==, ROOT_PORT_ID);
    ports_check(qts, 3, 3);
    qtest_quit(qts);
}

/* The limit that nobody has asked for is told of, not enforced. */
static void test_hotplug_automatic(void)
{
    QTestState *qts = machine_start(",highmem-ecam=off", 14, ACPI_PCI_HOTPLUG);
    g_autofree char *silent = NULL, *warning = NULL;

    silent = qtest_hmp(qts, "device_add pcie-root-port,id=a,bus=pcie.0");
    assert_same_text(silent, "");
    ports_check(qts, 15, 15);

    warning = qtest_hmp(qts, "device_add pcie-root-port,id=b,bus=pcie.0,"
                        "chassis=2");
    assert_same_text(warning, "warning: PCIe root port 'b' is one too many: "
                     "there are 15, and the limit is 15 because of the 16 bus "
                     "numbers of a machine with 'highmem-ecam=off'; use "
                     "'max-pcie-root-ports=16' or more\r\n");
    ports_check(qts, 15, 16);
    qtest_quit(qts);
}

/* A port that would get no bus number is one too many as well. */
static void test_hotplug_buses(void)
{
    QTestState *qts = machine_start(",max-pcie-root-ports=20", 1,
                                    ACPI_PCI_HOTPLUG PXB("x", 3));

    port_plug(qts, "a", 4);
    assert_device_add_refused(qts, "pcie-root-port", "b", "pcie.0",
                              IN_THE_WAY("pcie.0", 3, 3, "x", 3));
    g_assert_false(qom_has(qts, "/machine/peripheral", "b"));
    port_unplug(qts, "a", 4);
    port_plug(qts, "b", 4);
    qtest_quit(qts);
}

/* So is another bridge, which any port takes. */
static void test_hotplug_bridge(void)
{
    QTestState *qts = machine_start(",max-pcie-root-ports=20", 1, PXB("x", 3));

    qtest_qmp_device_add(qts, "pcie-pci-bridge", "a", "{'bus': 'p0'}");
    qtest_quit(qts);

    qts = machine_start(",max-pcie-root-ports=20", 2, PXB("x", 3));
    assert_device_add_refused(qts, "pcie-pci-bridge", "a", "p0",
                              IN_THE_WAY("pcie.0", 3, 3, "x", 3));
    g_assert_false(qom_has(qts, "/machine/peripheral", "a"));
    qtest_quit(qts);

    /* What p0 reserves is there for it. */
    qts = machine_start(",max-pcie-root-ports=20", 0, PXB("x", 3)
                        PORT("p0", "pcie.0,bus-reserve=1"));
    qtest_qmp_device_add(qts, "pcie-pci-bridge", "a", "{'bus': 'p0'}");
    qtest_quit(qts);
}

/* Without a limit that was asked for, there is a warning. */
static void test_hotplug_bridge_automatic(void)
{
    QTestState *qts = machine_start("", 2, PXB("x", 3));
    g_autofree char *warning = qtest_hmp(qts, "device_add pcie-pci-bridge,"
                                         "id=a,bus=p1");

    assert_same_text(warning, "warning: "
                     IN_THE_WAY("pcie.0", 3, 3, "x", 3) "\r\n");
    g_assert_true(qom_has(qts, "/machine/peripheral", "a"));
    qtest_quit(qts);
}

/* Without ACPI PCI hotplug, there is none of ports, whatever the limit. */
static void test_hotplug_not_possible(void)
{
    QTestState *qts = machine_start(",max-pcie-root-ports=3", 1, NULL);

    assert_device_add_refused(qts, "pcie-root-port", "a", "pcie.0",
                              "Bus 'pcie.0' does not support hotplugging");
    ports_check(qts, 3, 1);
    qtest_quit(qts);
}

/* --- Ports that the machine makes --- */

#define HOTPLUG_PORTS 20

/* Check that hotplug0 and so on fill the slots from the last one downwards */
static void hotplug_ports_check(QTestState *qts)
{
    QDict *response = qtest_qmp(qts, "{'execute': 'query-pci'}");
    QDict *bus = qobject_to(QDict, qlist_peek(qdict_get_qlist(response,
                                                              "return")));
    unsigned found = 0;
    QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(bus, "devices"), entry) {
        QDict *device = qobject_to(QDict, qlist_entry_obj(entry));
        const char *id = qdict_get_str(device, "qdev_id");
        unsigned index;

        if (!g_str_has_prefix(id, "hotplug")) {
            continue;
        }
        g_assert_cmpint(qemu_strtoui(id + strlen("hotplug"), NULL, 10, &index),
                        ==, 0);
        g_assert_cmpuint(index, <, HOTPLUG_PORTS);
        g_assert_cmpint(qdict_get_int(device, "bus"), ==, 0);
        g_assert_cmpint(qdict_get_int(device, "slot"), ==, 31 - index / 8);
        g_assert_cmpint(qdict_get_int(device, "function"), ==, index % 8);
        found++;
    }
    g_assert_cmpuint(found, ==, HOTPLUG_PORTS);
    qobject_unref(response);

    for (unsigned i = 0; i < HOTPLUG_PORTS; i++) {
        g_autofree char *path = g_strdup_printf(
            "/machine/peripheral/hotplug%u/hotplug%u", i, i);

        g_assert_false(qom_has(qts, path, "child["));
    }
}

static void test_hotplug_ports(void)
{
    const char *bus = "/machine/peripheral/hotplug3/hotplug3";
    QTestState *qts = machine_start(",pcie-hotplug-ports=20", 0, NULL);

    ports_check(qts, 32, HOTPLUG_PORTS);
    hotplug_ports_check(qts);

    for (unsigned i = 0; i < 2; i++) {
        qtest_qmp_device_add(qts, "virtio-rng-pci", "rng",
                             "{'bus': 'hotplug3'}");
        g_assert_true(qom_has(qts, bus, "child["));
        /* No guest has turned on the slot: it need not be asked. */
        qtest_qmp_device_del(qts, "rng");
        g_assert_false(qom_has(qts, bus, "child["));
    }

    assert_device_add_refused(qts, "virtio-rng-pci", "hotplug0", "hotplug1",
                              "Duplicate device ID 'hotplug0'");
    ports_check(qts, 32, HOTPLUG_PORTS);
    qtest_system_reset(qts);
    ports_check(qts, 32, HOTPLUG_PORTS);
    qtest_quit(qts);
}

/* They are ports like others for ACPI PCI hotplug, too. */
static void test_hotplug_ports_acpi(void)
{
    QTestState *qts = machine_start(",pcie-hotplug-ports=20", 0,
                                    ACPI_PCI_HOTPLUG);

    hotplug_ports_check(qts);
    for (unsigned i = 0; i < HOTPLUG_PORTS; i++) {
        g_autofree char *id = g_strdup_printf("rng%u", i);
        g_autofree char *bus = g_strdup_printf("hotplug%u", i);

        qtest_qmp_device_add(qts, "virtio-rng-pci", id, "{'bus': %s}", bus);
    }
    assert_device_add_refused(qts, "virtio-rng-pci", "more", "hotplug3",
                              "PCI: slot 0 function 0 already occupied by "
                              "virtio-rng-pci, new func virtio-rng-pci cannot "
                              "be exposed to guest.");
    qtest_quit(qts);
}

static void add_start(const Start *start)
{
    g_autofree char *path = g_strdup_printf("/arm-pcie-ports/start/%s",
                                            start->name);

    if ((!start->tcg || qtest_has_accel("tcg")) &&
        (!start->driver || qtest_has_device(start->driver))) {
        qtest_add_data_func(path, start, test_start);
    }
}

static void add_count(const Count *count)
{
    g_autofree char *path = g_strdup_printf("/arm-pcie-ports/count/%s",
                                            count->name);

    if ((!count->tcg || qtest_has_accel("tcg")) &&
        (!count->driver || qtest_has_device(count->driver))) {
        qtest_add_data_func(path, count, test_count);
    }
}

static void add_layout(const Layout *layout)
{
    const char *options = layout->options;
    g_autofree char *path = g_strdup_printf("/arm-pcie-ports/layout/%s/%u",
                                            *options ? options + 1 : "high",
                                            layout->ports);

    qtest_add_data_func(path, layout, test_layout);
}

static void add_reserve(const Reserve *reserve)
{
    g_autofree char *path = g_strdup_printf("/arm-pcie-ports/reserve/%s",
                                            reserve->name);

    qtest_add_data_func(path, reserve, test_reserve);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    if (!qtest_has_machine("virt") || !qtest_has_device("pcie-root-port") ||
        !qtest_has_device("pci-testdev")) {
        return g_test_run();
    }

    for (unsigned i = 0; i < ARRAY_SIZE(starts); i++) {
        add_start(&starts[i]);
    }
    qtest_add_func("/arm-pcie-ports/properties", test_properties);
    for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
        add_count(&counts[i]);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(layouts); i++) {
        add_layout(&layouts[i]);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(reserves); i++) {
        add_reserve(&reserves[i]);
    }
    qtest_add_func("/arm-pcie-ports/fixed", test_fixed);
    qtest_add_func("/arm-pcie-ports/hotplug/explicit", test_hotplug_explicit);
    qtest_add_func("/arm-pcie-ports/hotplug/buses", test_hotplug_buses);
    qtest_add_func("/arm-pcie-ports/hotplug/bridge", test_hotplug_bridge);
    qtest_add_func("/arm-pcie-ports/hotplug/bridge/automatic",
                   test_hotplug_bridge_automatic);
    qtest_add_func("/arm-pcie-ports/hotplug/automatic",
                   test_hotplug_automatic);
    qtest_add_func("/arm-pcie-ports/hotplug/not-possible",
                   test_hotplug_not_possible);
    qtest_add_func("/arm-pcie-ports/hotplug-ports", test_hotplug_ports);
    qtest_add_func("/arm-pcie-ports/hotplug-ports/acpi",
                   test_hotplug_ports_acpi);

    return g_test_run();
}
