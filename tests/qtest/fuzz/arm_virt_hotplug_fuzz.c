/*
 * Hotplug of the Arm virt machine Fuzzing Target
 *
 * The input is a sequence of commands, with SEPARATOR between them as for the
 * generic fuzzer. A command is what a guest does to a register (of CPU and
 * PCI hotplug, of the interrupt controller with its redistributors of free
 * CPU slots, of PCIe root ports and of what is plugged into them), or what a
 * user does on the monitor: add and remove CPUs and PCI devices, query, reset
 * the machine.
 *
 * No vCPU executes guest code, but each has a thread, which has to be created
 * and joined.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-acpi.h"
#include "qapi/qapi-commands-machine.h"
#include "qapi/qapi-commands-pci.h"
#include "qapi/qapi-commands-qdev.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "exec/cpu-common.h"
#include "hw/core/boards.h"
#include "hw/core/cpu.h"
#include "hw/pci/pci.h"
#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_device.h"
#include "monitor/qdev.h"
#include "system/address-spaces.h"
#include "system/cpus.h"
#include "tests/qtest/libqtest.h"
#include "fuzz.h"

#define SEPARATOR "FUZZ"

/* Set in a command's first byte if no event is to be processed after it */
#define HOLD_EVENTS 0x80

#define SLOTS           4           /* of CPUs; only one has a CPU at first */
#define PORTS           2
#define PORT_ID         "port%u"
#define PORT_WINDOW     (1 * MiB)
#define PORT_IO         (4 * KiB)
#define FUNCTIONS       4

/* Memory map of the virt machine, see hw/arm/virt.c */
#define GICD            0x08000000
#define GITS            0x08080000
#define GICR            0x080a0000
#define GICR_FRAMES     0x20000     /* those of one CPU slot */
#define GED             0x09080000
#define PCIHP           0x090c0000
#define CPUHP           0x090d0000
#define PCIE_MMIO       0x10000000
#define PCIE_PIO        0x3eff0000
#define PCIE_ECAM       0x4010000000

/* CPU hotplug registers, see docs/specs/acpi_cpu_hotplug.rst */
#define CPUHP_SELECTOR  (CPUHP + 0)
#define CPUHP_FLAGS     (CPUHP + 4)
#define CPUHP_COMMAND   (CPUHP + 5)
#define CPUHP_DATA      (CPUHP + 8)
#define CPUHP_LEN       12
#define CMD_NEXT_EVENT  0
#define CMD_OST_EVENT   1
#define CMD_OST_STATUS  2

/* PCI hotplug registers, see docs/specs/acpi_pci_hotplug.rst */
#define PCIHP_EJECT     (PCIHP + 0x08)
#define PCIHP_SELECTOR  (PCIHP + 0x10)
#define PCIHP_LEN       0x18

/* Interrupt controller: distributor, redistributors, translation service */
#define GICD_CTLR       0x0000
#define GICR_CTLR       0x0000
#define ENABLE_LPIS     (1 << 0)
#define GICR_PROPBASER  0x0070
#define GICR_PENDBASER  0x0078
#define GITS_CTLR       0x0000
#define GITS_CBASER     0x0080
#define GITS_CWRITER    0x0088
#define GITS_BASER      0x0100
#define GITS_BASERS     8
#define ITS_VALID       (1ull << 63)
#define ITS_DEVICES     1
#define ITS_COLLECTIONS 4
#define ITS_COMMAND_LEN 32
/* No more than needed: all pending bits are read whenever LPIs are enabled. */
#define LPI_ID_BITS     13

/* Memory of the guest with the tables of interrupts, each of TABLE_SIZE */
#define TABLES          0x44000000
#define TABLE_SIZE      (64 * KiB)
#define TABLE(n)        (TABLES + (n) * TABLE_SIZE)
#define LPI_CONFIG      TABLE(0)
#define DEVICE_TABLE    TABLE(1)
#define COLLECTIONS     TABLE(2)
#define COMMAND_QUEUE   TABLE(3)
/* TABLE(4) is for commands that map a device. */
#define LPI_PENDING     TABLE(5)            /* and one for each other slot */

enum {
    OP_READ,
    OP_WRITE,
    OP_CONFIG_READ,
    OP_CONFIG_WRITE,
    OP_MAP_BARS,
    OP_CPU_CONTROL,
    OP_CPU_OST,
    OP_CPU_ADD,
    OP_CPU_DEL,
    OP_DEVICE_ADD,
    OP_DEVICE_DEL,
    OP_SLOT_CONTROL,
    OP_PCIHP_EJECT,
    OP_ITS_COMMAND,
    OP_QUERY,
    OP_CLOCK_STEP,
    OP_RESET,
    OP_COUNT
};

/*
 * How a device is removed from a root port: by registers of the port, or by
 * those of ACPI
 */
typedef struct HotplugConfig {
    const char *name;
    const char *description;
    const char *args;
    bool acpi;
} HotplugConfig;

static const HotplugConfig configs[] = {
    {
        .name = "arm-virt-hotplug",
        .description = "CPU hotplug and native PCIe hotplug of Arm virt",
        .args = "",
        .acpi = false,
    },
    {
        .name = "arm-virt-hotplug-acpi",
        .description = "CPU hotplug and ACPI PCI hotplug of Arm virt",
        .args = "-global acpi-ged.acpi-pci-hotplug-with-bridge-support=on",
        .acpi = true,
    },
};

/*
 * What is plugged into root ports: a conventional device, one of PCI Express
 * and a bridge. They need neither a backend nor a file, and do little by
 * themselves: what is looked for are errors in hotplug.
 */
static const char *const models[] = {
    "pci-testdev", "virtio-rng-pci", "pcie-pci-bridge",
};

/* Registers, and what is behind root ports */
static const struct {
    hwaddr base;
    hwaddr size;
    bool acpi;              /* only there if HotplugConfig.acpi */
} regions[] = {
    { CPUHP, CPUHP_LEN },
    { PCIHP, PCIHP_LEN, .acpi = true },
    { GED, 4 },
    { GICD, 64 * KiB },
    { GICR, SLOTS * GICR_FRAMES },
    { GITS, 128 * KiB },
    { PCIE_MMIO, PORTS * PORT_WINDOW },
    { PCIE_PIO, PORTS * PORT_IO },
};

static const HotplugConfig *config;
static PCIDevice *ports[PORTS];
static bool log_enabled;

/* Arguments of the commands, as they are in the input */

typedef struct QEMU_PACKED AccessArgs {
    uint8_t size;           /* as a power of two */
    uint8_t region;
    uint32_t offset;
    uint64_t value;         /* only to write */
} AccessArgs;

typedef struct QEMU_PACKED ConfigArgs {
    uint8_t size;           /* as a power of two */
    uint8_t function;       /* see config_address() */
    uint16_t offset;
    uint32_t value;         /* only to write */
} ConfigArgs;

typedef struct QEMU_PACKED CpuArgs {
    uint8_t slot;
    uint8_t value;          /* of CPUHP_FLAGS, or the event of _OST */
    uint8_t status;         /* of _OST */
} CpuArgs;

typedef struct QEMU_PACKED DeviceArgs {
    uint8_t port;
    uint8_t function;       /* see device_add() */
    uint8_t model;          /* only to add */
} DeviceArgs;

typedef struct QEMU_PACKED SlotControlArgs {
    uint8_t port;
    uint16_t value;
} SlotControlArgs;

typedef struct QEMU_PACKED EjectArgs {
    uint8_t bus;
    uint32_t slots;
} EjectArgs;

/* --- What a user does --- */

/*
 * Write a command of QMP to the log: together with the command line, with what
 * the qtest server logs and with the times at which events are processed, this
 * is all that a test needs to do the same as the input.
 */
static void log_qmp(const char *name, QDict *args)
{
    g_autoptr(QDict) command = NULL;
    g_autoptr(GString) text = NULL;

    if (!log_enabled) {
        return;
    }
    command = qdict_new();
    qdict_put_str(command, "execute", name);
    if (args) {
        qdict_put(command, "arguments", qobject_ref(args));
    }
    text = qobject_to_json(QOBJECT(command));
    fprintf(stderr, "[QMP] %s\n", text->str);
}

static void process_events(QTestState *s)
{
    flush_events(s);
    if (log_enabled) {
        fprintf(stderr, "[EVENTS]\n");
    }
}

static void device_add(QDict *args)
{
    QObject *ret = NULL;
    Error *err = NULL;

    log_qmp("device_add", args);
    qmp_device_add(args, &ret, &err);
    error_free(err);
    qobject_unref(ret);
}

static void device_del(const char *id)
{
    g_autoptr(QDict) args = qdict_new();
    Error *err = NULL;

    qdict_put_str(args, "id", id);
    log_qmp("device_del", args);
    /* Not @id, which may be a string of the device. */
    qmp_device_del(qdict_get_str(args, "id"), &err);
    error_free(err);
}

static void system_reset(QTestState *s)
{
    log_qmp("system_reset", NULL);
    pause_all_vcpus();
    fuzz_reset(s);
    resume_all_vcpus();
}

static const CPUArchIdList *cpu_slots(void)
{
    return current_machine->possible_cpus;
}

/*
 * Try to add a CPU. All but one of the ids that name its slot can have one
 * value only and may be left out. The slot may be taken.
 */
static void op_cpu_add(QTestState *s, const uint8_t *data, size_t len)
{
    g_autoptr(QDict) args = qdict_new();
    g_autofree char *id = NULL;
    unsigned slot;

    if (len < endof(CpuArgs, slot)) {
        return;
    }
    slot = data[0] % SLOTS;
    id = g_strdup_printf("cpu%u", slot);
    qdict_put_str(args, "driver", current_machine->cpu_type);
    qdict_put_str(args, "id", id);
    qdict_put_int(args, "core-id", cpu_slots()->cpus[slot].props.core_id);
    device_add(args);
}

static void op_cpu_del(QTestState *s, const uint8_t *data, size_t len)
{
    g_autofree char *id = NULL;
    unsigned slot;

    if (len < endof(CpuArgs, slot)) {
        return;
    }
    slot = data[0] % SLOTS;
    /* The boot CPU has no id. */
    id = slot ? g_strdup_printf("cpu%u", slot) :
                object_get_canonical_path(OBJECT(first_cpu));
    device_del(id);
}

static char *device_id(const DeviceArgs *a)
{
    return g_strdup_printf(PORT_ID "-%u", a->port % PORTS,
                           a->function % FUNCTIONS);
}

/*
 * Try to add a function to what is plugged into a root port. In @function are
 * also bits that make it one of several, and that ask for another slot, which
 * root ports do not have.
 */
static void op_device_add(QTestState *s, const uint8_t *data, size_t len)
{
    g_autoptr(QDict) args = qdict_new();
    g_autofree char *id = NULL, *bus = NULL, *addr = NULL;
    DeviceArgs a;

    if (len < sizeof(a)) {
        return;
    }
    memcpy(&a, data, sizeof(a));
    id = device_id(&a);
    bus = g_strdup_printf(PORT_ID, a.port % PORTS);
    addr = g_strdup_printf("%x.%u", a.function >> 7, a.function % FUNCTIONS);
    qdict_put_str(args, "driver", models[a.model % ARRAY_SIZE(models)]);
    qdict_put_str(args, "id", id);
    qdict_put_str(args, "bus", bus);
    qdict_put_str(args, "addr", addr);
    qdict_put_bool(args, "multifunction", a.function & (1 << 6));
    device_add(args);
}

static void op_device_del(QTestState *s, const uint8_t *data, size_t len)
{
    g_autofree char *id = NULL;
    DeviceArgs a = {};

    if (len < endof(DeviceArgs, function)) {
        return;
    }
    memcpy(&a, data, endof(DeviceArgs, function));
    id = device_id(&a);
    device_del(id);
}

static void op_query(QTestState *s, const uint8_t *data, size_t len)
{
    static const char *const names[] = {
        "query-hotpluggable-cpus", "query-cpus-fast",
        "query-acpi-ospm-status", "query-pci",
    };
    unsigned which;

    if (len < 1) {
        return;
    }
    which = data[0] % ARRAY_SIZE(names);
    log_qmp(names[which], NULL);
    switch (which) {
    case 0:
        qapi_free_HotpluggableCPUList(
            qmp_query_hotpluggable_cpus(&error_abort));
        break;
    case 1:
        qapi_free_CpuInfoFastList(qmp_query_cpus_fast(&error_abort));
        break;
    case 2:
        qapi_free_ACPIOSTInfoList(qmp_query_acpi_ospm_status(&error_abort));
        break;
    case 3:
        qapi_free_PciInfoList(qmp_query_pci(&error_abort));
        break;
    default:
        g_assert_not_reached();
    }
}

/* Let time pass, in tenths of a second: some requests expire. */
static void op_clock_step(QTestState *s, const uint8_t *data, size_t len)
{
    if (len < 1) {
        return;
    }
    /* It cannot stand still. */
    qtest_clock_step(s, (data[0] + 1) * (NANOSECONDS_PER_SECOND / 10));
}

/* --- What a guest does --- */

static void region_read(QTestState *s, hwaddr addr, unsigned size)
{
    switch (size) {
    case 1:
        qtest_readb(s, addr);
        break;
    case 2:
        qtest_readw(s, addr);
        break;
    case 4:
        qtest_readl(s, addr);
        break;
    case 8:
        qtest_readq(s, addr);
        break;
    default:
        g_assert_not_reached();
    }
}

static void region_write(QTestState *s, hwaddr addr, unsigned size,
                         uint64_t value)
{
    switch (size) {
    case 1:
        qtest_writeb(s, addr, value);
        break;
    case 2:
        qtest_writew(s, addr, value);
        break;
    case 4:
        qtest_writel(s, addr, value);
        break;
    case 8:
        qtest_writeq(s, addr, value);
        break;
    default:
        g_assert_not_reached();
    }
}

/* Returns: the address of @a, or 0 if there is nothing on this machine */
static hwaddr access_address(const AccessArgs *a)
{
    unsigned i = a->region % ARRAY_SIZE(regions);

    if (regions[i].acpi && !config->acpi) {
        return 0;
    }
    return regions[i].base + a->offset % regions[i].size;
}

static void op_read(QTestState *s, const uint8_t *data, size_t len)
{
    AccessArgs a = {};

    if (len < endof(AccessArgs, offset)) {
        return;
    }
    memcpy(&a, data, endof(AccessArgs, offset));
    if (access_address(&a)) {
        region_read(s, access_address(&a), 1 << a.size % 4);
    }
}

static void op_write(QTestState *s, const uint8_t *data, size_t len)
{
    AccessArgs a;

    if (len < sizeof(a)) {
        return;
    }
    memcpy(&a, data, sizeof(a));
    if (access_address(&a)) {
        region_write(s, access_address(&a), 1 << a.size % 4, a.value);
    }
}

/*
 * The address at which the configuration space of a function begins: that of
 * root port @function / 16, or if bit 3 is set, of a function behind it.
 */
static hwaddr config_address(uint8_t function)
{
    unsigned port = function / 16 % PORTS;
    unsigned bus = 0, devfn = ports[port]->devfn;

    if (function & (1 << 3)) {
        bus = port + 1;
        devfn = function % FUNCTIONS;
    }
    return PCIE_ECAM + (bus << 20) + (devfn << 12);
}

static void op_config_read(QTestState *s, const uint8_t *data, size_t len)
{
    ConfigArgs a = {};

    if (len < endof(ConfigArgs, offset)) {
        return;
    }
    memcpy(&a, data, endof(ConfigArgs, offset));
    region_read(s, config_address(a.function) + a.offset % 4096,
                1 << a.size % 3);
}

static void op_config_write(QTestState *s, const uint8_t *data, size_t len)
{
    ConfigArgs a;

    if (len < sizeof(a)) {
        return;
    }
    memcpy(&a, data, sizeof(a));
    region_write(s, config_address(a.function) + a.offset % 4096,
                 1 << a.size % 3, a.value);
}

/* The address of a register in the PCI Express capability of a root port */
static hwaddr port_register(unsigned port, unsigned offset)
{
    return config_address(port * 16) + ports[port]->exp.exp_cap + offset;
}

/*
 * Turn the power of a root port's slot on, and give a function in it addresses
 * in the port's windows.
 */
static void op_map_bars(QTestState *s, const uint8_t *data, size_t len)
{
    unsigned port, bars = 0;
    hwaddr address;

    if (len < 1) {
        return;
    }
    port = data[0] / 16 % PORTS;
    qtest_writew(s, port_register(port, PCI_EXP_SLTCTL),
                 PCI_EXP_SLTCTL_PWR_IND_ON);

    address = config_address(data[0] | (1 << 3));
    switch (qtest_readb(s, address + PCI_HEADER_TYPE) &
            ~PCI_HEADER_TYPE_MULTI_FUNCTION) {
    case PCI_HEADER_TYPE_NORMAL:
        bars = 6;
        break;
    case PCI_HEADER_TYPE_BRIDGE:
        bars = 2;
        break;
    default:
        /* There is no such function. */
        return;
    }
    for (unsigned i = 0; i < bars; i++) {
        hwaddr bar = address + PCI_BASE_ADDRESS_0 + i * 4;
        uint32_t flags = qtest_readl(s, bar);

        if (flags & PCI_BASE_ADDRESS_SPACE_IO) {
            qtest_writel(s, bar, port * PORT_IO + i * 256);
            continue;
        }
        qtest_writel(s, bar, PCIE_MMIO + port * PORT_WINDOW + i * 64 * KiB);
        if (flags & PCI_BASE_ADDRESS_MEM_TYPE_64) {
            qtest_writel(s, bar + 4, 0);
            i++;
        }
    }
    qtest_writew(s, address + PCI_COMMAND, PCI_COMMAND_IO |
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* Handle an event of a CPU as the methods of its ACPI device do */
static void op_cpu_control(QTestState *s, const uint8_t *data, size_t len)
{
    if (len < endof(CpuArgs, value)) {
        return;
    }
    qtest_writel(s, CPUHP_SELECTOR, data[0] % SLOTS);
    qtest_writeb(s, CPUHP_FLAGS, data[1]);
}

static void cpu_ost(QTestState *s, unsigned slot, uint32_t event,
                    uint32_t status)
{
    qtest_writel(s, CPUHP_SELECTOR, slot);
    qtest_writeb(s, CPUHP_COMMAND, CMD_OST_EVENT);
    qtest_writel(s, CPUHP_DATA, event);
    qtest_writeb(s, CPUHP_COMMAND, CMD_OST_STATUS);
    qtest_writel(s, CPUHP_DATA, status);
}

static void op_cpu_ost(QTestState *s, const uint8_t *data, size_t len)
{
    CpuArgs a;

    if (len < sizeof(a)) {
        return;
    }
    memcpy(&a, data, sizeof(a));
    cpu_ost(s, a.slot % SLOTS, a.value, a.status);
}

/* Turn the power of a root port's slot off, for instance, to remove devices */
static void op_slot_control(QTestState *s, const uint8_t *data, size_t len)
{
    SlotControlArgs a;

    if (len < sizeof(a)) {
        return;
    }
    memcpy(&a, data, sizeof(a));
    qtest_writew(s, port_register(a.port % PORTS, PCI_EXP_SLTCTL), a.value);
}

static void op_pcihp_eject(QTestState *s, const uint8_t *data, size_t len)
{
    EjectArgs a;

    if (len < sizeof(a) || !config->acpi) {
        return;
    }
    memcpy(&a, data, sizeof(a));
    qtest_writel(s, PCIHP_SELECTOR, a.bus);
    qtest_writel(s, PCIHP_EJECT, a.slots);
}

static void op_its_command(QTestState *s, const uint8_t *data, size_t len)
{
    uint64_t command[ITS_COMMAND_LEN / sizeof(uint64_t)] = {};
    uint64_t tail;

    if (len < 1) {
        return;
    }
    memcpy(command, data, MIN(len, sizeof(command)));
    tail = QEMU_ALIGN_DOWN(qtest_readq(s, GITS + GITS_CWRITER) % TABLE_SIZE,
                           ITS_COMMAND_LEN);
    for (unsigned i = 0; i < ARRAY_SIZE(command); i++) {
        qtest_writeq(s, COMMAND_QUEUE + tail + i * sizeof(*command),
                     command[i]);
    }
    qtest_writeq(s, GITS + GITS_CWRITER,
                 (tail + ITS_COMMAND_LEN) % TABLE_SIZE);
}

static void setup_interrupts(QTestState *s)
{
    qtest_writel(s, GICD + GICD_CTLR, 3);

    /* The first 16 LPIs are enabled, also those of slots without a CPU. */
    qtest_writeq(s, LPI_CONFIG, 0x8181818181818181);
    qtest_writeq(s, LPI_CONFIG + 8, 0x8181818181818181);
    for (unsigned i = 0; i < SLOTS; i++) {
        hwaddr gicr = GICR + i * GICR_FRAMES;

        qtest_writeq(s, gicr + GICR_PROPBASER, LPI_CONFIG | LPI_ID_BITS);
        qtest_writeq(s, gicr + GICR_PENDBASER, LPI_PENDING + i * TABLE_SIZE);
        qtest_writel(s, gicr + GICR_CTLR, ENABLE_LPIS);
    }

    for (unsigned i = 0; i < GITS_BASERS; i++) {
        hwaddr baser = GITS + GITS_BASER + i * 8;
        unsigned type = qtest_readq(s, baser) >> 56 & 7;

        if (type == ITS_DEVICES) {
            qtest_writeq(s, baser, ITS_VALID | DEVICE_TABLE | 15);
        } else if (type == ITS_COLLECTIONS) {
            qtest_writeq(s, baser, ITS_VALID | COLLECTIONS | 15);
        }
    }
    qtest_writeq(s, GITS + GITS_CBASER, ITS_VALID | COMMAND_QUEUE | 15);
    qtest_writel(s, GITS + GITS_CTLR, 1);
}

static void setup_ports(QTestState *s)
{
    for (unsigned i = 0; i < PORTS; i++) {
        hwaddr address = config_address(i * 16);
        uint32_t window = PCIE_MMIO + i * PORT_WINDOW;

        qtest_writeb(s, address + PCI_PRIMARY_BUS, 0);
        qtest_writeb(s, address + PCI_SECONDARY_BUS, i + 1);
        qtest_writeb(s, address + PCI_SUBORDINATE_BUS, i + 1);
        qtest_writeb(s, address + PCI_IO_BASE, i * PORT_IO >> 8);
        qtest_writeb(s, address + PCI_IO_LIMIT, i * PORT_IO >> 8);
        qtest_writew(s, address + PCI_MEMORY_BASE, window >> 16);
        qtest_writew(s, address + PCI_MEMORY_LIMIT,
                     (window + PORT_WINDOW - 1) >> 16);
        qtest_writew(s, address + PCI_COMMAND, PCI_COMMAND_IO |
                     PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    }
}

/*
 * What firmware and an operating system do when they start; no input would
 * get far without it. Registers that a reset leaves alone are set as well.
 */
static void setup_guest(QTestState *s)
{
    qtest_writel(s, CPUHP_SELECTOR, 0);
    qtest_writeb(s, CPUHP_COMMAND, CMD_NEXT_EVENT);
    if (config->acpi) {
        qtest_writel(s, PCIHP_SELECTOR, 0);
    }
    qtest_readl(s, GED);
    setup_interrupts(s);
    setup_ports(s);
}

static void op_reset(QTestState *s, const uint8_t *data, size_t len)
{
    system_reset(s);
    setup_guest(s);
}

/* --- Inputs --- */

static void remove_devices(QTestState *s, unsigned port)
{
    const PCIBus *bus = pci_bridge_get_sec_bus(PCI_BRIDGE(ports[port]));

    if (!config->acpi) {
        hwaddr control = port_register(port, PCI_EXP_SLTCTL);
        bool locked = qtest_readw(s, port_register(port, PCI_EXP_SLTSTA)) &
                      PCI_EXP_SLTSTA_EIS;

        /*
         * A slot whose power is turned off loses all its devices, unless
         * function 0 was never there; without it, the other functions can be
         * removed without the guest.
         */
        qtest_writew(s, control, PCI_EXP_SLTCTL_PWR_IND_ON |
                                 (locked ? PCI_EXP_SLTCTL_EIC : 0));
        qtest_writew(s, control, PCI_EXP_SLTCTL_PWR_IND_OFF |
                                 PCI_EXP_SLTCTL_PWR_OFF);
    }
    for (unsigned devfn = 0; devfn < ARRAY_SIZE(bus->devices); devfn++) {
        if (bus->devices[devfn]) {
            device_del(DEVICE(bus->devices[devfn])->canonical_path);
        }
    }
}

/*
 * Remove all that was added and reset the machine, so that the next input
 * finds what this one has found. A reset by itself removes nothing but what it
 * was asked to, so this also checks that it does that.
 */
static void restore_machine(QTestState *s)
{
    const CPUArchIdList *slots = cpu_slots();

    for (unsigned i = 0; i < PORTS; i++) {
        remove_devices(s, i);
    }
    for (unsigned i = 1; i < SLOTS; i++) {
        if (slots->cpus[i].cpu) {
            device_del(DEVICE(slots->cpus[i].cpu)->canonical_path);
        }
    }
    system_reset(s);
    process_events(s);

    for (unsigned i = 0; i < PORTS; i++) {
        const PCIBus *bus = pci_bridge_get_sec_bus(PCI_BRIDGE(ports[i]));

        for (unsigned devfn = 0; devfn < ARRAY_SIZE(bus->devices); devfn++) {
            g_assert(!bus->devices[devfn]);
        }
    }
    for (unsigned i = 1; i < SLOTS; i++) {
        g_assert(!slots->cpus[i].cpu);
    }

    /* A reset leaves what the guest has reported last. */
    for (unsigned i = 0; i < SLOTS; i++) {
        cpu_ost(s, i, 0, 0);
    }

    /*
     * Free now what was removed: what still uses it then has this input to
     * blame. The memory would also pile up, because this thread hardly ever
     * lets go of the BQL.
     */
    drain_call_rcu();
    address_space_set(&address_space_memory, TABLES, 0,
                      TABLE(5 + SLOTS) - TABLES, MEMTXATTRS_UNSPECIFIED);
}

static void hotplug_fuzz(QTestState *s, const unsigned char *data, size_t size)
{
    static void (*const ops[])(QTestState *, const uint8_t *, size_t) = {
        [OP_READ] = op_read,
        [OP_WRITE] = op_write,
        [OP_CONFIG_READ] = op_config_read,
        [OP_CONFIG_WRITE] = op_config_write,
        [OP_MAP_BARS] = op_map_bars,
        [OP_CPU_CONTROL] = op_cpu_control,
        [OP_CPU_OST] = op_cpu_ost,
        [OP_CPU_ADD] = op_cpu_add,
        [OP_CPU_DEL] = op_cpu_del,
        [OP_DEVICE_ADD] = op_device_add,
        [OP_DEVICE_DEL] = op_device_del,
        [OP_SLOT_CONTROL] = op_slot_control,
        [OP_PCIHP_EJECT] = op_pcihp_eject,
        [OP_ITS_COMMAND] = op_its_command,
        [OP_QUERY] = op_query,
        [OP_CLOCK_STEP] = op_clock_step,
        [OP_RESET] = op_reset,
    };

    QEMU_BUILD_BUG_ON(ARRAY_SIZE(ops) != OP_COUNT);

    setup_guest(s);
    while (size) {
        const unsigned char *next = memmem(data, size, SEPARATOR,
                                           strlen(SEPARATOR));
        size_t len = next ? next - data : size;

        if (len) {
            ops[(data[0] & ~HOLD_EVENTS) % OP_COUNT](s, data + 1, len - 1);
            if (!(data[0] & HOLD_EVENTS)) {
                process_events(s);
            }
        }
        len += next ? strlen(SEPARATOR) : 0;
        data += len;
        size -= len;
    }
    restore_machine(s);
}

/* Do what two inputs do, one after the other */
static size_t hotplug_crossover(const uint8_t *data1, size_t size1,
                                const uint8_t *data2, size_t size2,
                                uint8_t *out, size_t max_out_size,
                                unsigned int seed)
{
    size_t start = size1 + strlen(SEPARATOR);

    if (max_out_size <= start) {
        return 0;
    }
    size2 = MIN(size2, max_out_size - start);
    memcpy(out, data1, size1);
    memcpy(out + size1, SEPARATOR, strlen(SEPARATOR));
    memcpy(out + start, data2, size2);
    return start + size2;
}

static void hotplug_pre_fuzz(QTestState *s)
{
    PCIDevice *host_bridge;

    g_assert(cpu_slots()->len == SLOTS);
    for (unsigned i = 0; i < PORTS; i++) {
        g_autofree char *path = g_strdup_printf("/machine/peripheral/" PORT_ID,
                                                i);

        ports[i] = PCI_DEVICE(object_resolve_path(path, NULL));
    }

    /*
     * A guest can eject the host bridge by ACPI, which nobody can plug again:
     * all further inputs would find another machine.
     */
    host_bridge = pci_get_bus(ports[0])->devices[0];
    DEVICE_GET_CLASS(host_bridge)->hotpluggable = false;

    /*
     * A request to remove a PCI device expires at a time after 0. Without this,
     * inputs would find another machine before the first OP_CLOCK_STEP.
     */
    qtest_clock_step(s, NANOSECONDS_PER_SECOND);
}

static GString *hotplug_cmdline(FuzzTarget *target)
{
    GString *cmdline = g_string_new(TARGET_NAME);

    config = target->opaque;
    /* Without instructions to execute, an empty firmware is as good as any. */
    g_string_append_printf(cmdline,
        " -display none -nodefaults"
        " -machine virt,accel=qtest,acpi=on,gic-version=3,cpu-hotplug=on"
        " -cpu cortex-a57 -m 128M -smp 1,maxcpus=%u,cores=%u -bios /dev/null"
        " -device pcie-root-port,id=" PORT_ID ",addr=1,chassis=1"
        " -device pcie-root-port,id=" PORT_ID ",addr=2,chassis=2,io-reserve=0"
        " %s ", SLOTS, SLOTS, 0, 1, config->args);
    log_enabled = qtest_verbose("fuzz");
    if (log_enabled) {
        fprintf(stderr, "[QEMU] %s\n", cmdline->str);
    }
    return cmdline;
}

static void register_hotplug_targets(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(configs); i++) {
        fuzz_add_target(&(FuzzTarget){
            .name = configs[i].name,
            .description = configs[i].description,
            .get_init_cmdline = hotplug_cmdline,
            .pre_fuzz = hotplug_pre_fuzz,
            .fuzz = hotplug_fuzz,
            .crossover = hotplug_crossover,
            .opaque = (void *)&configs[i],
        });
    }
}

fuzz_target_init(register_hotplug_targets);
