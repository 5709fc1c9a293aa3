/*
 * QTest of the windows of PCI bridges
 *
 * There is no guest: the test programs bridges as firmware does, and looks
 * whether a device behind them answers.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "libqtest.h"
#include "hw/pci/pci.h"
#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_regs.h"

/* Addresses that the test gives to BARs 0, 1, and 2 of pci-testdev */
#define MEM_BAR         0x10400000ull
#define IO_BAR          0x2000
#define PREF_BAR        0x8000400000ull
#define PREF_SIZE       (2 * MiB)

#define TESTDEV_NAME    16          /* offset in the header of pci-testdev */
#define BUS_SIZE        MiB         /* of ECAM */

/* --- Machines --- */

typedef struct Machine {
    const char *name;
    const char *type;
    const char *args;
    uint64_t ecam;
    uint64_t pio;                   /* 0: the processor has I/O ports */
    void (*prepare)(QTestState *qts);
} Machine;

#define Q35_ECAM        0xb0000000ull
#define Q35_PCIEXBAR    0x60        /* register of the host bridge */

/* Turn ECAM on, as firmware does */
static void q35_prepare(QTestState *qts)
{
    qtest_outl(qts, 0xcf8, 0x80000000 | Q35_PCIEXBAR);
    qtest_outl(qts, 0xcfc, Q35_ECAM | 1);
}

static const Machine machines[] = {
    {
        .name = "virt",
        .type = "virt",
        .args = "-machine virt -cpu cortex-a57",
        .ecam = 0x4010000000ull,
        .pio = 0x3eff0000,
    }, {
        .name = "virt-low-ecam",
        .type = "virt",
        .args = "-machine virt,highmem-ecam=off -cpu cortex-a57",
        .ecam = 0x3f000000,
        .pio = 0x3eff0000,
    }, {
        .name = "q35",
        .type = "q35",
        .args = "-machine q35 -cpu qemu64,phys-bits=40",
        .ecam = Q35_ECAM,
        .prepare = q35_prepare,
    },
};

static QTestState *machine_start(const Machine *m, const char *more)
{
    QTestState *qts = qtest_initf("-nodefaults %s %s", m->args, more);

    if (m->prepare) {
        m->prepare(qts);
    }
    return qts;
}

static void machine_reset(const Machine *m, QTestState *qts)
{
    qtest_system_reset(qts);
    if (m->prepare) {
        m->prepare(qts);
    }
}

static void pio_write(QTestState *qts, const Machine *m, uint16_t port,
                      uint8_t value)
{
    if (m->pio) {
        qtest_writeb(qts, m->pio + port, value);
    } else {
        qtest_outb(qts, port, value);
    }
}

static uint8_t pio_read(QTestState *qts, const Machine *m, uint16_t port)
{
    return m->pio ? qtest_readb(qts, m->pio + port) : qtest_inb(qts, port);
}

static uint64_t config_address(const Machine *m, unsigned bus, unsigned slot)
{
    return m->ecam + bus * BUS_SIZE + (PCI_DEVFN(slot, 0) << 12);
}

/* --- The device behind the bridge --- */

#define TESTDEV "-device pci-testdev,bus=b,addr=1,membar=2M,membar-backed=on "

/* A region of pci-testdev tells the name of the test that is chosen there. */
static bool mem_answers(QTestState *qts, uint64_t address)
{
    const char *name = "mmio";

    qtest_writeb(qts, address, 0);
    for (unsigned i = 0; name[i]; i++) {
        if (qtest_readb(qts, address + TESTDEV_NAME + i) != name[i]) {
            return false;
        }
    }
    return true;
}

static bool io_answers(QTestState *qts, const Machine *m, uint16_t port)
{
    const char *name = "port";

    pio_write(qts, m, port, 0);
    for (unsigned i = 0; name[i]; i++) {
        if (pio_read(qts, m, port + TESTDEV_NAME + i) != name[i]) {
            return false;
        }
    }
    return true;
}

static bool ram_answers(QTestState *qts, uint64_t address)
{
    const uint32_t pattern = 0x6b8b4567;

    qtest_writel(qts, address, pattern);
    return qtest_readl(qts, address) == pattern;
}

/* Let the device at @config answer */
static void testdev_prepare(QTestState *qts, uint64_t config)
{
    g_assert_cmphex(qtest_readl(qts, config + PCI_VENDOR_ID), ==,
                    PCI_DEVICE_ID_REDHAT_TEST << 16 | PCI_VENDOR_ID_REDHAT);
    qtest_writel(qts, config + PCI_BASE_ADDRESS_0, MEM_BAR);
    qtest_writel(qts, config + PCI_BASE_ADDRESS_1, IO_BAR);
    qtest_writel(qts, config + PCI_BASE_ADDRESS_2, (uint32_t)PREF_BAR);
    qtest_writel(qts, config + PCI_BASE_ADDRESS_3, PREF_BAR >> 32);
    qtest_writew(qts, config + PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
}

/* --- Each register of a port --- */

/* A write to a register of the port, and which BARs the guest sees then */
typedef struct Step {
    const char *what;
    uint8_t reg, size;
    uint32_t value;
    bool mem, pref, io;
} Step;

static const Step steps[] = {
    { "decode", PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO },
    { "memory", PCI_MEMORY_BASE, 4, 0x10401040, true },
    { "prefetchable, low", PCI_PREF_MEMORY_BASE, 4, 0x00500040, true },
    { "prefetchable, base", PCI_PREF_BASE_UPPER32, 4, 0x80, true },
    { "prefetchable", PCI_PREF_LIMIT_UPPER32, 4, 0x80, true, true },
    { "I/O", PCI_IO_BASE, 2, 0x2020, true, true, true },

    { "memory, same", PCI_MEMORY_BASE, 4, 0x10401040, true, true, true },
    { "I/O, same", PCI_IO_BASE, 2, 0x2020, true, true, true },
    { "prefetchable, same", PCI_PREF_MEMORY_BASE, 4, 0x00500040, true, true,
      true },
    { "decode, same", PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO,
      true, true, true },
    { "bus master", PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO |
      PCI_COMMAND_MASTER, true, true, true },

    { "memory, away", PCI_MEMORY_BASE, 4, 0x10501050, false, true, true },
    { "memory, back", PCI_MEMORY_BASE, 4, 0x10401040, true, true, true },
    { "memory, from below", PCI_MEMORY_BASE, 2, 0x1020, true, true, true },
    { "memory, further", PCI_MEMORY_LIMIT, 2, 0x1070, true, true, true },
    { "memory, only above", PCI_MEMORY_BASE, 2, 0x1050, false, true, true },
    { "memory, byte", PCI_MEMORY_BASE, 1, 0x30, true, true, true },
    { "memory, closed", PCI_MEMORY_LIMIT, 2, 0x1020, false, true, true },
    { "memory, closed still", PCI_MEMORY_BASE, 2, 0x1040, false, true, true },
    { "memory, open", PCI_MEMORY_LIMIT, 2, 0x1040, true, true, true },

    { "prefetchable, away", PCI_PREF_MEMORY_BASE, 4, 0x00700060, true, false,
      true },
    { "prefetchable, back", PCI_PREF_MEMORY_BASE, 4, 0x00500040, true, true,
      true },
    { "prefetchable, 4 GiB more", PCI_PREF_LIMIT_UPPER32, 4, 0x81, true, true,
      true },
    { "prefetchable, 4 GiB on", PCI_PREF_BASE_UPPER32, 4, 0x81, true, false,
      true },
    { "prefetchable, 4 GiB back", PCI_PREF_BASE_UPPER32, 4, 0x80, true, true,
      true },
    { "prefetchable, closed", PCI_PREF_LIMIT_UPPER32, 4, 0, true, false,
      true },
    { "prefetchable, open", PCI_PREF_LIMIT_UPPER32, 4, 0x80, true, true,
      true },

    { "I/O, away", PCI_IO_BASE, 2, 0x3030, true, true, false },
    { "I/O, larger", PCI_IO_BASE, 1, 0x10, true, true, true },
    { "I/O, closed", PCI_IO_LIMIT, 1, 0, true, true, false },
    { "I/O, open", PCI_IO_BASE, 2, 0x2020, true, true, true },

    { "no memory decode", PCI_COMMAND, 2, PCI_COMMAND_IO, false, false, true },
    { "memory, no decode", PCI_MEMORY_BASE, 4, 0x10401030, false, false, true },
    { "memory decode", PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO,
      true, true, true },
    { "no I/O decode", PCI_COMMAND, 2, PCI_COMMAND_MEMORY, true, true, false },
    { "no decode", PCI_COMMAND, 2, 0 },
    { "decode again", PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO,
      true, true, true },
};

/* What the registers of the port say, after PCI-to-PCI Bridge 1.2, 3.2.5 */
static Step registers_read(QTestState *qts, uint64_t config)
{
    uint16_t command = qtest_readw(qts, config + PCI_COMMAND);
    uint64_t base, limit;
    Step now = { };

    base = qtest_readw(qts, config + PCI_MEMORY_BASE) >> 4 << 20;
    limit = (qtest_readw(qts, config + PCI_MEMORY_LIMIT) >> 4 << 20) | 0xfffff;
    now.mem = command & PCI_COMMAND_MEMORY &&
              base <= MEM_BAR && MEM_BAR <= limit;

    base = qtest_readw(qts, config + PCI_PREF_MEMORY_BASE) >> 4 << 20;
    base |= (uint64_t)qtest_readl(qts, config + PCI_PREF_BASE_UPPER32) << 32;
    limit = (qtest_readw(qts, config + PCI_PREF_MEMORY_LIMIT) >> 4 << 20) |
            0xfffff;
    limit |= (uint64_t)qtest_readl(qts, config + PCI_PREF_LIMIT_UPPER32) << 32;
    now.pref = command & PCI_COMMAND_MEMORY &&
               base <= PREF_BAR && PREF_BAR <= limit;

    base = qtest_readb(qts, config + PCI_IO_BASE) >> 4 << 12;
    limit = (qtest_readb(qts, config + PCI_IO_LIMIT) >> 4 << 12) | 0xfff;
    now.io = command & PCI_COMMAND_IO && base <= IO_BAR && IO_BAR <= limit;
    return now;
}

/* BARs are where they should be, and not next to it. */
static void bars_check(QTestState *qts, const Machine *m, const Step *step)
{
    g_assert_cmpint(mem_answers(qts, MEM_BAR), ==, step->mem);
    g_assert_false(mem_answers(qts, MEM_BAR - MiB));
    g_assert_false(mem_answers(qts, MEM_BAR + MiB));

    g_assert_cmpint(io_answers(qts, m, IO_BAR), ==, step->io);
    g_assert_false(io_answers(qts, m, IO_BAR - 4 * KiB));
    g_assert_false(io_answers(qts, m, IO_BAR + 4 * KiB));

    g_assert_cmpint(ram_answers(qts, PREF_BAR), ==, step->pref);
    g_assert_false(ram_answers(qts, PREF_BAR - PREF_SIZE));
    g_assert_false(ram_answers(qts, PREF_BAR + PREF_SIZE));
}

#define PORT "-device pcie-root-port,id=b,addr=1,io-reserve=4K "
/* Other than behind the bridges below, a port has slot 0 only. */
#define PORT_TESTDEV "-device pci-testdev,bus=b,membar=2M,membar-backed=on "

static void port_set_bus(QTestState *qts, const Machine *m)
{
    uint64_t port = config_address(m, 0, 1);

    qtest_writeb(qts, port + PCI_SECONDARY_BUS, 1);
    qtest_writeb(qts, port + PCI_SUBORDINATE_BUS, 1);
}

/* Take all steps; the BARs are seen as the registers say after each of them. */
static void steps_take(QTestState *qts, const Machine *m, bool table)
{
    uint64_t port = config_address(m, 0, 1);

    for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
        const Step *step = &steps[i];
        Step now;

        g_test_message("%s", step->what);
        switch (step->size) {
        case 1:
            qtest_writeb(qts, port + step->reg, step->value);
            break;
        case 2:
            qtest_writew(qts, port + step->reg, step->value);
            break;
        case 4:
            qtest_writel(qts, port + step->reg, step->value);
            break;
        default:
            g_assert_not_reached();
        }
        now = registers_read(qts, port);
        if (table) {
            g_assert_cmpint(now.mem, ==, step->mem);
            g_assert_cmpint(now.pref, ==, step->pref);
            g_assert_cmpint(now.io, ==, step->io);
        }
        bars_check(qts, m, &now);
    }
}

static const Step closed = { "closed" };

static void test_steps(const void *data)
{
    const Machine *m = data;
    QTestState *qts = machine_start(m, PORT PORT_TESTDEV);

    for (unsigned round = 0; round < 2; round++) {
        port_set_bus(qts, m);
        testdev_prepare(qts, config_address(m, 1, 0));
        /* A reset closes what the round before has opened. */
        bars_check(qts, m, &closed);
        steps_take(qts, m, true);
        machine_reset(m, qts);
    }
    qtest_quit(qts);
}

static void migration_wait(QTestState *qts)
{
    bool completed = false;

    while (!completed) {
        QDict *info = qtest_qmp_assert_success_ref(
            qts, "{'execute': 'query-migrate'}");
        const char *status = qdict_get_try_str(info, "status");

        g_assert_cmpstr(status, !=, "failed");
        completed = !g_strcmp0(status, "completed");
        qobject_unref(info);
    }
}

/* Registers that come with a migration count as those that are written. */
static void test_migration(const void *data)
{
    const Machine *m = data;
    g_autofree char *path = NULL;
    g_autofree char *uri = NULL;
    QTestState *source = machine_start(m, PORT PORT_TESTDEV);
    QTestState *target;
    int fd = g_file_open_tmp("pci-bridge-windows-XXXXXX", &path, NULL);
    const Step *last = &steps[ARRAY_SIZE(steps) - 1];

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    uri = g_strdup_printf("file:%s", path);

    port_set_bus(source, m);
    testdev_prepare(source, config_address(m, 1, 0));
    steps_take(source, m, true);
    qtest_qmp_assert_success(source, "{'execute': 'migrate', 'arguments': "
                             "{'uri': %s}}", uri);
    migration_wait(source);
    qtest_quit(source);

    target = qtest_initf("-nodefaults %s " PORT PORT_TESTDEV "-incoming defer",
                         m->args);
    qtest_qmp_assert_success(target, "{'execute': 'migrate-incoming', "
                             "'arguments': {'uri': %s}}", uri);
    qtest_qmp_eventwait(target, "RESUME");
    unlink(path);
    /* The device does not migrate. */
    testdev_prepare(target, config_address(m, 1, 0));
    bars_check(target, m, last);
    /* All is open already, other than when the steps were taken first. */
    steps_take(target, m, false);
    bars_check(target, m, last);
    qtest_quit(target);
}

/* --- VGA --- */

/* VGA registers of miscellaneous output: where to write, where to read */
#define VGA_WRITE   0x3c2
#define VGA_READ    0x3cc
#define VGA_VALUE   0x67

static bool vga_answers(QTestState *qts, const Machine *m)
{
    pio_write(qts, m, VGA_WRITE, VGA_VALUE);
    return pio_read(qts, m, VGA_READ) == VGA_VALUE;
}

/* Legacy VGA addresses are forwarded if the bridge control register says so. */
static void test_vga(const void *data)
{
    const Machine *m = data;
    QTestState *qts = machine_start(m, PORT "-device VGA,bus=b,romfile=");
    uint64_t port = config_address(m, 0, 1);
    uint64_t device = config_address(m, 1, 0);

    for (unsigned round = 0; round < 2; round++) {
        port_set_bus(qts, m);
        qtest_writew(qts, device + PCI_COMMAND, PCI_COMMAND_IO);
        qtest_writew(qts, port + PCI_COMMAND, PCI_COMMAND_IO);
        g_assert_false(vga_answers(qts, m));

        for (unsigned i = 0; i < 2; i++) {
            qtest_writew(qts, port + PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_VGA);
            g_assert_true(vga_answers(qts, m));
            qtest_writew(qts, port + PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_VGA);
            g_assert_true(vga_answers(qts, m));
            qtest_writew(qts, port + PCI_COMMAND, 0);
            g_assert_false(vga_answers(qts, m));
            qtest_writew(qts, port + PCI_COMMAND, PCI_COMMAND_IO);
            g_assert_true(vga_answers(qts, m));
            qtest_writew(qts, port + PCI_BRIDGE_CONTROL, 0);
            g_assert_false(vga_answers(qts, m));
        }

        /* A reset closes it, too. */
        qtest_writew(qts, port + PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_VGA);
        g_assert_true(vga_answers(qts, m));
        machine_reset(m, qts);
        g_assert_false(vga_answers(qts, m));
    }
    qtest_quit(qts);
}

/* --- Reset of each kind of bridge --- */

/* Bridges on the way to pci-testdev, each on the bus behind the one before */
typedef struct Kind {
    const char *name;
    const char *driver;             /* has to be there */
    const char *machine;            /* options */
    const char *devices;
    unsigned bus;                   /* that of the first bridge */
    uint8_t slots[4];               /* of the bridges, then of the device */
    unsigned count;                 /* of bridges */
} Kind;

#define BRIDGE(driver) "-device " driver ",id=b,addr=1 "
#define ROOT_PORT "-device pcie-root-port,id=r,addr=1 "
#define CXL "-device pxb-cxl,id=x,bus_nr=12,bus=pcie.0 " \
            "-device cxl-rp,port=0,id=r,bus=x,chassis=1 "

static const Kind kinds[] = {
    { "pcie-root-port", "pcie-root-port", "", PORT PORT_TESTDEV, 0, { 1, 0 },
      1 },
    { "ioh3420", "ioh3420", "", BRIDGE("ioh3420") PORT_TESTDEV, 0, { 1, 0 },
      1 },
    {
        "pci-bridge", "pci-bridge", "",
        BRIDGE("pci-bridge,shpc=off,chassis_nr=1") TESTDEV, 0, { 1, 1 }, 1
    }, {
        "pcie-pci-bridge", "pcie-pci-bridge", "",
        BRIDGE("pcie-pci-bridge") TESTDEV, 0, { 1, 1 }, 1
    }, {
        "i82801b11-bridge", "i82801b11-bridge", "",
        BRIDGE("i82801b11-bridge") TESTDEV, 0, { 1, 1 }, 1
    }, {
        "switch", "xio3130-downstream", "", ROOT_PORT
        "-device x3130-upstream,id=u,bus=r "
        "-device xio3130-downstream,id=b,bus=u,chassis=2 " PORT_TESTDEV,
        0, { 1, 0, 0, 0 }, 3
    }, {
        "cxl-switch", "cxl-downstream", "-machine cxl=on ", CXL
        "-device cxl-upstream,id=u,bus=r "
        "-device cxl-downstream,port=0,id=b,bus=u,chassis=2 " PORT_TESTDEV,
        12, { 0, 0, 0, 0 }, 3
    },
};

typedef struct Reset {
    const Machine *machine;
    const Kind *kind;
} Reset;

static void bridge_open(QTestState *qts, uint64_t config)
{
    qtest_writel(qts, config + PCI_MEMORY_BASE, 0x10401040);
    qtest_writew(qts, config + PCI_COMMAND, PCI_COMMAND_MEMORY);
}

/* What a reset has closed stays so until the guest opens it. */
static void test_reset(const void *data)
{
    const Reset *reset = data;
    const Machine *m = reset->machine;
    const Kind *kind = reset->kind;
    g_autofree char *args = g_strconcat(kind->machine, kind->devices, NULL);
    QTestState *qts = machine_start(m, args);

    for (unsigned left_out = 0; left_out < kind->count; left_out++) {
        uint64_t configs[ARRAY_SIZE(kind->slots)];

        for (unsigned i = 0; i <= kind->count; i++) {
            configs[i] = config_address(m, kind->bus + i, kind->slots[i]);
        }
        for (unsigned i = 0; i < kind->count; i++) {
            qtest_writeb(qts, configs[i] + PCI_PRIMARY_BUS, kind->bus + i);
            qtest_writeb(qts, configs[i] + PCI_SECONDARY_BUS,
                         kind->bus + i + 1);
            qtest_writeb(qts, configs[i] + PCI_SUBORDINATE_BUS,
                         kind->bus + kind->count);
            if (i != left_out) {
                bridge_open(qts, configs[i]);
            }
        }
        testdev_prepare(qts, configs[kind->count]);
        g_test_message("bridge %u is closed", left_out);
        g_assert_false(mem_answers(qts, MEM_BAR));
        bridge_open(qts, configs[left_out]);
        g_assert_true(mem_answers(qts, MEM_BAR));
        machine_reset(m, qts);
    }
    /* Once more, as the first round was without a reset before. */
    for (unsigned i = 0; i < kind->count; i++) {
        uint64_t config = config_address(m, kind->bus + i, kind->slots[i]);

        qtest_writeb(qts, config + PCI_SECONDARY_BUS, kind->bus + i + 1);
        qtest_writeb(qts, config + PCI_SUBORDINATE_BUS,
                     kind->bus + kind->count);
        if (i > 0) {
            bridge_open(qts, config);
        }
    }
    testdev_prepare(qts, config_address(m, kind->bus + kind->count,
                                        kind->slots[kind->count]));
    g_assert_false(mem_answers(qts, MEM_BAR));
    qtest_quit(qts);
}

/* --- Bridges whose windows firmware relies on --- */

#define BOSTON_ECAM     0x12000000ull   /* the second of three host bridges */
#define BOSTON_BAR      0x20400000ull   /* in the window from 512 MiB on */
#define BOSTON_RPSCR    0x148           /* root port status and control */
#define BOSTON_RPSCR_BRIDGEEN   BIT(0)

/*
 * The root port of boston has its window from the beginning. Nobody opens it
 * again after a reset, as no register moves it.
 */
static void test_boston(void)
{
    const uint64_t device = BOSTON_ECAM + BUS_SIZE;
    QTestState *qts = qtest_init("-nodefaults -machine boston "
                                 "-device pci-testdev,bus=pci.1");

    for (unsigned round = 0; round < 2; round++) {
        qtest_writel(qts, BOSTON_ECAM + BOSTON_RPSCR, BOSTON_RPSCR_BRIDGEEN);
        qtest_writeb(qts, BOSTON_ECAM + PCI_SECONDARY_BUS, 1);
        qtest_writeb(qts, BOSTON_ECAM + PCI_SUBORDINATE_BUS, 1);
        g_assert_cmphex(qtest_readl(qts, device + PCI_VENDOR_ID), ==,
                        PCI_DEVICE_ID_REDHAT_TEST << 16 | PCI_VENDOR_ID_REDHAT);
        g_assert_false(mem_answers(qts, BOSTON_BAR));
        qtest_writel(qts, device + PCI_BASE_ADDRESS_0, BOSTON_BAR);
        qtest_writew(qts, device + PCI_COMMAND, PCI_COMMAND_MEMORY);
        g_assert_true(mem_answers(qts, BOSTON_BAR));
        qtest_system_reset(qts);
    }
    qtest_quit(qts);
}

#define SUN4U_CONFIG    0x1fe01000000ull
#define SUN4U_IO        0x1fe02000000ull
#define SUN4U_MEM       0x1ff00000000ull
#define SUN4U_BRIDGE_B  (SUN4U_CONFIG + (PCI_DEVFN(1, 0) << 8))
#define SUN4U_BUS_B     2               /* number that the test gives to it */
#define SUN4U_DEVICE    (SUN4U_CONFIG + (SUN4U_BUS_B << 16) + \
                         (PCI_DEVFN(1, 0) << 8))
#define SUN4U_BAR       0x40000         /* in a window that begins at 0 */
#define SUN4U_SCRATCH   (SUN4U_IO + 0x3ff)      /* register of the first UART */

/*
 * Bridge A of sun4u has a window of I/O ports when firmware begins, bridge B
 * has none. Bytes only: the processor is big-endian, PCI is not.
 */
static void test_sun4u(void)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("pci-bridge-windows-XXXXXX", &path, NULL);
    QTestState *qts;

    /* The machine needs firmware, but does not get to execute it. */
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, "none", 4), ==, 4);
    close(fd);
    qts = qtest_initf("-nodefaults -machine sun4u -bios %s -serial null "
                      "-device pci-testdev,bus=pciB,addr=1", path);
    unlink(path);

    for (unsigned round = 0; round < 2; round++) {
        qtest_writeb(qts, SUN4U_SCRATCH, 0x67 + round);
        g_assert_cmphex(qtest_readb(qts, SUN4U_SCRATCH), ==, 0x67 + round);

        qtest_writeb(qts, SUN4U_BRIDGE_B + PCI_SECONDARY_BUS, SUN4U_BUS_B);
        qtest_writeb(qts, SUN4U_BRIDGE_B + PCI_SUBORDINATE_BUS, SUN4U_BUS_B);
        g_assert_cmphex(qtest_readb(qts, SUN4U_DEVICE + PCI_DEVICE_ID), ==,
                        PCI_DEVICE_ID_REDHAT_TEST);
        qtest_writeb(qts, SUN4U_DEVICE + PCI_BASE_ADDRESS_0 + 2,
                     SUN4U_BAR >> 16);
        qtest_writeb(qts, SUN4U_DEVICE + PCI_COMMAND, PCI_COMMAND_MEMORY);
        g_assert_false(mem_answers(qts, SUN4U_MEM + SUN4U_BAR));
        qtest_writeb(qts, SUN4U_BRIDGE_B + PCI_COMMAND, PCI_COMMAND_MEMORY);
        g_assert_true(mem_answers(qts, SUN4U_MEM + SUN4U_BAR));
        qtest_system_reset(qts);
    }
    qtest_quit(qts);
}

static void add_test(const Machine *m, const char *name,
                     void (*test)(const void *))
{
    g_autofree char *path = g_strdup_printf("/pci-bridge-windows/%s/%s",
                                            m->name, name);

    qtest_add_data_func(path, m, test);
}

static void add_reset(const Machine *m, const Kind *kind)
{
    g_autofree char *path = g_strdup_printf("/pci-bridge-windows/%s/reset/%s",
                                            m->name, kind->name);
    Reset *reset = g_new(Reset, 1);

    *reset = (Reset) { m, kind };
    qtest_add_data_func_full(path, reset, test_reset, g_free);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    if (!qtest_has_device("pci-testdev")) {
        return g_test_run();
    }
    if (qtest_has_machine("boston")) {
        qtest_add_func("/pci-bridge-windows/boston/reset", test_boston);
    }
    if (qtest_has_machine("sun4u")) {
        qtest_add_func("/pci-bridge-windows/sun4u/reset", test_sun4u);
    }
    if (!qtest_has_device("pcie-root-port")) {
        return g_test_run();
    }
    for (unsigned i = 0; i < ARRAY_SIZE(machines); i++) {
        const Machine *m = &machines[i];

        if (!qtest_has_machine(m->type)) {
            continue;
        }
        add_test(m, "steps", test_steps);
        add_test(m, "migration", test_migration);
        if (qtest_has_device("VGA")) {
            add_test(m, "vga", test_vga);
        }
        for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
            if (qtest_has_device(kinds[k].driver)) {
                add_reset(m, &kinds[k]);
            }
        }
    }
    return g_test_run();
}
