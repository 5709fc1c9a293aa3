/*
 * QTest of CPU hotplug on the Arm virt machine
 *
 * There is no guest: the test reads the ACPI tables as firmware does, through
 * fw_cfg, and handles the hotplug registers as the AML does. See
 * docs/specs/acpi_cpu_hotplug.rst.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "libqtest.h"
#include "hw/nvram/fw_cfg.h"

/* Memory map of the virt machine */
#define FW_CFG_DMA          0x09020010
#define GED_EVENT_SELECTOR  0x09080000
#define CPUHP               0x090d0000
#define SCRATCH_RAM         0x42000000

#define GED_EVENT_CPU_HOTPLUG  (1 << 3)

/* Registers: see docs/specs/acpi_cpu_hotplug.rst */
#define CPUHP_SELECTOR      (CPUHP + 0)
#define CPUHP_DATA2         (CPUHP + 0)
#define CPUHP_FLAGS         (CPUHP + 4)
#define CPUHP_COMMAND       (CPUHP + 5)
#define CPUHP_DATA          (CPUHP + 8)
#define CPUHP_LEN           12

#define FLAG_ENABLED        (1 << 0)
#define FLAG_INSERT         (1 << 1)
#define FLAG_REMOVE         (1 << 2)
#define FLAG_FW_REMOVE      (1 << 4)

#define CTRL_CLEAR_INSERT   (1 << 1)
#define CTRL_CLEAR_REMOVE   (1 << 2)
#define CTRL_EJECT          (1 << 3)
#define CTRL_FW_REMOVE      (1 << 4)

#define CMD_NEXT_EVENT      0
#define CMD_OST_EVENT       1
#define CMD_OST_STATUS      2
#define CMD_CPU_ID          3

#define EJECT_REQUEST       3
#define OST_SUCCESS         0
#define OST_IN_USE          0x80

#define GICC_ENABLED        (1 << 0)
#define GICC_ONLINE_CAPABLE (1 << 3)
#define GICC_LENGTH_6_5     82

#define GICR_FRAMES         0x20000

/* Interrupt controller: distributor, translation service, redistributors */
#define GICD                0x08000000
#define GICD_CTLR           0x0000
#define GICD_TYPER          0x0004
#define GICD_IGROUPR        0x0080
#define GICD_ISENABLER      0x0100
#define GICD_ISPENDR        0x0200
#define GICD_ICPENDR        0x0280
#define GICD_IPRIORITYR     0x0400
#define GICD_IROUTER        0x6000

#define GITS                0x08080000
#define GITS_CTLR           0x0000
#define GITS_CBASER         0x0080
#define GITS_CWRITER        0x0088
#define GITS_CREADR         0x0090
#define GITS_BASER          0x0100

#define ITS_INT             0x03
#define ITS_CLEAR           0x04
#define ITS_MAPD            0x08
#define ITS_MAPC            0x09
#define ITS_MAPTI           0x0a

#define GICR_CTLR           0x0000
#define GICR_TYPER          0x0008
#define GICR_WAKER          0x0014
#define GICR_PROPBASER      0x0070
#define GICR_PENDBASER      0x0078
#define GICR_IGROUPR0       0x10080
#define GICR_ISENABLER0     0x10100
#define GICR_ICENABLER0     0x10180
#define GICR_ISPENDR0       0x10200
#define GICR_ICPENDR0       0x10280
#define GICR_IPRIORITYR     0x10400

#define GICR_CTLR_LPIS      (1 << 0)
#define GICR_TYPER_PLPIS    (1 << 0)
#define GICR_TYPER_LAST     (1 << 4)
#define GICR_WAKER_ASLEEP   (3 << 1)

#define CPU_TYPE            "cortex-a57-arm-cpu"

/*
 * What -bios needs is a firmware image; since no instruction is executed, an
 * empty one will do.
 */
#define EMPTY_FIRMWARE      "-bios /dev/null"

/* Machine with @cpus CPUs and room for more, in a hierarchy of slots */
typedef struct Topology {
    const char *name;
    unsigned cpus, sockets, clusters, cores, threads;
    const char *machine;
    const char *args;
    bool numa;                  /* a node per socket */
} Topology;

static const Topology topologies[] = {
    { "4", 2, 1, 1, 4, 1, "" },
    { "124", 1, 1, 1, 124, 1, "" },
    { "256", 3, 1, 1, 256, 1, "" },
    { "512", 2, 1, 1, 512, 1, "" },
    { "sockets", 2, 4, 1, 1, 1, "" },
    { "threads", 3, 2, 1, 2, 2, "" },
    { "clusters", 2, 2, 2, 2, 2, "" },
    { "virtualization", 2, 1, 1, 4, 1, ",virtualization=on" },
    {
        "numa", 2, 2, 1, 2, 1, "",
        "-object memory-backend-ram,id=ram0,size=128M "
        "-object memory-backend-ram,id=ram1,size=128M "
        "-numa node,nodeid=0,memdev=ram0 -numa node,nodeid=1,memdev=ram1 "
        "-numa cpu,node-id=0,socket-id=0 -numa cpu,node-id=1,socket-id=1",
        .numa = true
    },
};

/* Two CPUs and two free slots */
static const Topology small = { "small", 2, 2, 1, 2, 1, "" };

static unsigned topology_max_cpus(const Topology *t)
{
    return t->sockets * t->clusters * t->cores * t->threads;
}

static QTestState *machine_start(const Topology *t, const char *more)
{
    return qtest_initf("-nodefaults -machine virt,cpu-hotplug=auto%s "
                       "-cpu cortex-a57 -m 256M " EMPTY_FIRMWARE
                       " -smp %u,maxcpus=%u,sockets=%u,clusters=%u,cores=%u,"
                       "threads=%u %s %s", t->machine, t->cpus,
                       topology_max_cpus(t), t->sockets, t->clusters, t->cores,
                       t->threads, t->args ?: "", more ?: "");
}

/* The properties that name slot @index, as query-hotpluggable-cpus has them */
static QDict *slot_props(const Topology *t, unsigned index)
{
    QDict *props = qdict_new();
    unsigned socket = index / (t->clusters * t->cores * t->threads);

    qdict_put_int(props, "thread-id", index % t->threads);
    qdict_put_int(props, "core-id", index / t->threads % t->cores);
    qdict_put_int(props, "cluster-id",
                  index / (t->threads * t->cores) % t->clusters);
    qdict_put_int(props, "socket-id", socket);
    if (t->numa) {
        qdict_put_int(props, "node-id", socket);
    }
    return props;
}

/*
 * Check all that query-hotpluggable-cpus says of the slots but who is in them.
 *
 * Returns: the QOM path of the CPU in each slot, or NULL
 */
static char **slots_query(QTestState *qts, const Topology *t)
{
    unsigned max_cpus = topology_max_cpus(t);
    char **paths = g_new0(char *, max_cpus + 1);
    g_autofree bool *seen = g_new0(bool, max_cpus);
    QList *list;
    QListEntry *entry;
    QDict *resp = qtest_qmp(qts, "{'execute': 'query-hotpluggable-cpus'}");

    list = qdict_get_qlist(resp, "return");
    g_assert_nonnull(list);
    g_assert_cmpint(qlist_size(list), ==, max_cpus);

    QLIST_FOREACH_ENTRY(list, entry) {
        QDict *slot = qobject_to(QDict, qlist_entry_obj(entry));
        QDict *props = qdict_get_qdict(slot, "props");
        unsigned index = ((qdict_get_int(props, "socket-id") * t->clusters
                           + qdict_get_int(props, "cluster-id")) * t->cores
                          + qdict_get_int(props, "core-id")) * t->threads
                         + qdict_get_int(props, "thread-id");
        QDict *expected;

        g_assert_cmpuint(index, <, max_cpus);
        g_assert_false(seen[index]);
        seen[index] = true;

        expected = slot_props(t, index);
        g_assert_true(qobject_is_equal(QOBJECT(props), QOBJECT(expected)));
        qobject_unref(expected);

        g_assert_cmpstr(qdict_get_str(slot, "type"), ==, CPU_TYPE);
        g_assert_cmpint(qdict_get_int(slot, "vcpus-count"), ==, 1);
        paths[index] = g_strdup(qdict_get_try_str(slot, "qom-path"));
    }
    qobject_unref(resp);
    return paths;
}

static void slots_free(char **paths, const Topology *t)
{
    for (unsigned i = 0; i < topology_max_cpus(t); i++) {
        g_free(paths[i]);
    }
    g_free(paths);
}

/* Check which slots have a CPU: @taken[i] says it of slot i */
static void slots_check(QTestState *qts, const Topology *t, const bool *taken)
{
    char **paths = slots_query(qts, t);

    for (unsigned i = 0; i < topology_max_cpus(t); i++) {
        g_assert_cmpint(paths[i] != NULL, ==, taken[i]);
    }
    slots_free(paths, t);
}

static void cpu_plug(QTestState *qts, const Topology *t, unsigned index,
                     const char *id)
{
    QDict *args = slot_props(t, index);

    qdict_put_str(args, "id", id);
    qtest_qmp_device_add_qdict(qts, CPU_TYPE, args);
    qobject_unref(args);
}

/* Arguments for the command line that put a CPU into slot @index */
static char *cpu_device_args(const Topology *t, unsigned index, const char *id)
{
    QDict *props = slot_props(t, index);
    GString *args = g_string_new(NULL);

    g_string_printf(args, "-device " CPU_TYPE ",id=%s", id);
    for (const QDictEntry *e = qdict_first(props); e;
         e = qdict_next(props, e)) {
        g_string_append_printf(args, ",%s=%" PRId64, qdict_entry_key(e),
                               qdict_get_int(props, qdict_entry_key(e)));
    }
    qobject_unref(props);
    return g_string_free(args, false);
}

/* Wait for the event @name about the device @id */
static void wait_device_event(QTestState *qts, const char *name,
                              const char *id)
{
    bool found = false;

    while (!found) {
        QDict *event = qtest_qmp_eventwait_ref(qts, name);
        QDict *data = qdict_get_qdict(event, "data");

        found = !g_strcmp0(qdict_get_try_str(data, "device"), id);
        qobject_unref(event);
    }
}

/* No event @name has come so far. Drops all other events. */
static void assert_no_event(QTestState *qts, const char *name)
{
    /* Events come before the answer to what is asked after them. */
    qtest_qmp_assert_success(qts, "{'execute': 'query-status'}");
    g_assert_null(qtest_qmp_event_ref(qts, name));
}

/* --- ACPI tables, as firmware gets them --- */

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

static void fw_cfg_lookup(QTestState *qts, const char *name, uint16_t *key,
                          uint32_t *size)
{
    g_autofree char *directory = NULL;
    uint32_t count;
    size_t length;

    fw_cfg_read(qts, FW_CFG_FILE_DIR, &count, sizeof(count));
    count = be32_to_cpu(count);
    length = sizeof(count) + count * sizeof(FWCfgFile);
    directory = g_malloc(length);
    fw_cfg_read(qts, FW_CFG_FILE_DIR, directory, length);

    for (unsigned i = 0; i < count; i++) {
        FWCfgFile file;

        memcpy(&file, directory + sizeof(count) + i * sizeof(file),
               sizeof(file));
        if (!strcmp(file.name, name)) {
            *key = be16_to_cpu(file.select);
            *size = be32_to_cpu(file.size);
            return;
        }
    }
    g_error("fw_cfg has no file %s", name);
}

static uint8_t *fw_cfg_file(QTestState *qts, const char *name, uint32_t *size)
{
    uint16_t key;
    uint8_t first, *data;

    /* ACPI tables are built anew, and may change in size, when selected. */
    fw_cfg_lookup(qts, name, &key, size);
    fw_cfg_read(qts, key, &first, 1);
    fw_cfg_lookup(qts, name, &key, size);
    data = g_malloc(*size);
    fw_cfg_read(qts, key, data, *size);
    return data;
}

/*
 * Returns: the ACPI table @signature, not yet patched by firmware; NULL if
 * there is none. The loader's checksum commands tell where the tables are.
 */
static uint8_t *acpi_table(QTestState *qts, const char *signature,
                           uint32_t *length)
{
    const char *tables_file = "etc/acpi/tables";
    uint32_t loader_size, tables_size;
    g_autofree uint8_t *loader = fw_cfg_file(qts, "etc/table-loader",
                                             &loader_size);
    g_autofree uint8_t *tables = fw_cfg_file(qts, tables_file, &tables_size);

    for (uint8_t *entry = loader; entry + 128 <= loader + loader_size;
         entry += 128) {
        uint32_t start = ldl_le_p(entry + 64);

        if (ldl_le_p(entry) != 3 /* add checksum */ ||
            strcmp((char *)entry + 4, tables_file) ||
            memcmp(tables + start, signature, 4)) {
            continue;
        }
        *length = ldl_le_p(entry + 68);
        g_assert_cmpuint(start + *length, <=, tables_size);
        g_assert_cmpuint(ldl_le_p(tables + start + 4), ==, *length);
        return g_memdup2(tables + start, *length);
    }
    return NULL;
}

/*
 * Check each GICC of the MADT: Enabled if @taken says that the slot has a CPU,
 * otherwise Online Capable, and no other flag that speaks of its state.
 *
 * Returns: the MPIDR of each slot
 */
static uint64_t *madt_check(QTestState *qts, const Topology *t,
                            const bool *taken)
{
    unsigned max_cpus = topology_max_cpus(t);
    uint64_t *mpidr = g_new0(uint64_t, max_cpus);
    uint64_t redistributors = 0;
    unsigned cpus = 0;
    uint32_t length;
    g_autofree uint8_t *madt = acpi_table(qts, "APIC", &length);

    g_assert_nonnull(madt);
    g_assert_cmpuint(madt[8], ==, 6);           /* revision of ACPI 6.5 */
    for (uint8_t *e = madt + 44; e < madt + length; e += e[1]) {
        uint32_t uid, flags;

        g_assert_cmpuint(e[1], >=, 2);
        switch (e[0]) {
        case 11: /* GICC */
            g_assert_cmpuint(e[1], ==, GICC_LENGTH_6_5);
            uid = ldl_le_p(e + 8);
            flags = ldl_le_p(e + 12);
            g_assert_cmpuint(uid, ==, cpus);
            g_assert_cmphex(flags & (GICC_ENABLED | GICC_ONLINE_CAPABLE), ==,
                            taken[uid] ? GICC_ENABLED : GICC_ONLINE_CAPABLE);
            mpidr[uid] = ldq_le_p(e + 68);
            for (unsigned i = 0; i < uid; i++) {
                g_assert_cmphex(mpidr[i], !=, mpidr[uid]);
            }
            cpus++;
            break;
        case 14: /* GICR */
            redistributors += ldl_le_p(e + 12) / GICR_FRAMES;
            break;
        }
    }
    g_assert_cmpuint(cpus, ==, max_cpus);
    g_assert_cmpuint(redistributors, >=, max_cpus);
    return mpidr;
}

static void madt_check_flags(QTestState *qts, const Topology *t,
                             const bool *taken)
{
    g_free(madt_check(qts, t, taken));
}

/* --- Registers --- */

static uint8_t flags_read(QTestState *qts, unsigned index)
{
    qtest_writel(qts, CPUHP_SELECTOR, index);
    return qtest_readb(qts, CPUHP_FLAGS);
}

static void control_write(QTestState *qts, unsigned index, uint8_t value)
{
    qtest_writel(qts, CPUHP_SELECTOR, index);
    qtest_writeb(qts, CPUHP_FLAGS, value);
}

static void command_write(QTestState *qts, unsigned index, uint8_t command)
{
    qtest_writel(qts, CPUHP_SELECTOR, index);
    qtest_writeb(qts, CPUHP_COMMAND, command);
}

/* What the AML does on an event: the selector of the next CPU that has one */
static unsigned next_event(QTestState *qts)
{
    command_write(qts, 0, CMD_NEXT_EVENT);
    return qtest_readl(qts, CPUHP_DATA);
}

static void ost_write(QTestState *qts, unsigned index, uint32_t event,
                      uint32_t status)
{
    command_write(qts, index, CMD_OST_EVENT);
    qtest_writel(qts, CPUHP_DATA, event);
    command_write(qts, index, CMD_OST_STATUS);
    qtest_writel(qts, CPUHP_DATA, status);
}

static void flags_check(QTestState *qts, const Topology *t, const bool *taken)
{
    for (unsigned i = 0; i < topology_max_cpus(t); i++) {
        g_assert_cmphex(flags_read(qts, i), ==, taken[i] ? FLAG_ENABLED : 0);
    }
}

/* Unplug the CPU @id in slot @index, with a guest that obeys */
static void cpu_unplug(QTestState *qts, unsigned index, const char *id)
{
    qtest_qmp_device_del_send(qts, id);
    g_assert_cmphex(flags_read(qts, index), ==, FLAG_ENABLED | FLAG_REMOVE);
    control_write(qts, index, CTRL_CLEAR_REMOVE);
    g_assert_cmphex(flags_read(qts, index), ==, FLAG_ENABLED);
    assert_no_event(qts, "DEVICE_DELETED");
    control_write(qts, index, CTRL_EJECT);
    wait_device_event(qts, "DEVICE_DELETED", id);
    g_assert_cmphex(flags_read(qts, index), ==, 0);
}

/* --- Tests --- */

/*
 * The state of all slots, as QMP, registers and tables show it: at start, with
 * CPUs plugged into the last slot and one in the middle, and after resets.
 */
static void test_slots(const void *data)
{
    const Topology *t = data;
    unsigned max_cpus = topology_max_cpus(t);
    unsigned plugged[] = { max_cpus - 1, (t->cpus + max_cpus) / 2 - 1 };
    g_autofree bool *taken = g_new0(bool, max_cpus);
    g_autofree uint64_t *mpidr = NULL;
    g_autofree uint64_t *mpidr_later = NULL;
    g_autofree uint8_t *pptt = NULL, *srat = NULL, *later = NULL;
    uint32_t pptt_len, srat_len, later_len;
    QTestState *qts = machine_start(t, NULL);

    for (unsigned i = 0; i < t->cpus; i++) {
        taken[i] = true;
    }
    slots_check(qts, t, taken);
    flags_check(qts, t, taken);
    mpidr = madt_check(qts, t, taken);
    pptt = acpi_table(qts, "PPTT", &pptt_len);
    srat = acpi_table(qts, "SRAT", &srat_len);
    g_assert_nonnull(pptt);
    g_assert_cmpint(srat != NULL, ==, t->numa);

    for (unsigned i = 0; i < max_cpus; i++) {
        command_write(qts, i, CMD_CPU_ID);
        g_assert_cmphex(qtest_readl(qts, CPUHP_DATA), ==, (uint32_t)mpidr[i]);
        g_assert_cmphex(qtest_readl(qts, CPUHP_DATA2), ==, mpidr[i] >> 32);
    }

    for (unsigned i = 0; i < ARRAY_SIZE(plugged); i++) {
        g_autofree char *id = g_strdup_printf("cpu%u", plugged[i]);

        g_assert_false(taken[plugged[i]]);
        cpu_plug(qts, t, plugged[i], id);
        taken[plugged[i]] = true;
        g_assert_cmphex(flags_read(qts, plugged[i]), ==,
                        FLAG_ENABLED | FLAG_INSERT);
        g_assert_cmpuint(next_event(qts), ==, plugged[i]);
        control_write(qts, plugged[i], CTRL_CLEAR_INSERT);
    }
    slots_check(qts, t, taken);
    flags_check(qts, t, taken);

    qtest_system_reset(qts);
    flags_check(qts, t, taken);
    mpidr_later = madt_check(qts, t, taken);
    g_assert_cmpmem(mpidr, max_cpus * sizeof(*mpidr),
                    mpidr_later, max_cpus * sizeof(*mpidr));

    /* Neither processor hierarchy nor affinities depend on who is there. */
    later = acpi_table(qts, "PPTT", &later_len);
    g_assert_cmpmem(pptt, pptt_len, later, later_len);
    g_clear_pointer(&later, g_free);
    later = acpi_table(qts, "SRAT", &later_len);
    if (t->numa) {
        g_assert_cmpmem(srat, srat_len, later, later_len);
    }

    for (unsigned i = 0; i < ARRAY_SIZE(plugged); i++) {
        g_autofree char *id = g_strdup_printf("cpu%u", plugged[i]);

        cpu_unplug(qts, plugged[i], id);
        taken[plugged[i]] = false;
    }
    slots_check(qts, t, taken);
    qtest_system_reset(qts);
    madt_check_flags(qts, t, taken);
    qtest_quit(qts);
}

/* Far more often than there are slots, and in another order than they came */
static void test_cycles(void)
{
    const Topology *t = &small;
    bool taken[] = { true, true, false, false };
    QTestState *qts = machine_start(t, NULL);

    for (unsigned i = 0; i < 24; i++) {
        cpu_plug(qts, t, 2, "a");
        cpu_plug(qts, t, 3, "b");
        g_assert_cmphex(flags_read(qts, 2), ==, FLAG_ENABLED | FLAG_INSERT);
        g_assert_cmphex(flags_read(qts, 3), ==, FLAG_ENABLED | FLAG_INSERT);
        control_write(qts, 2, CTRL_CLEAR_INSERT);
        control_write(qts, 3, CTRL_CLEAR_INSERT);
        cpu_unplug(qts, i % 2 ? 2 : 3, i % 2 ? "a" : "b");
        cpu_unplug(qts, i % 2 ? 3 : 2, i % 2 ? "b" : "a");
    }
    slots_check(qts, t, taken);
    flags_check(qts, t, taken);
    qtest_quit(qts);
}

/* The Generic Event Device tells of each request, once */
static void test_ged_event(void)
{
    const Topology *t = &small;
    QTestState *qts = machine_start(t, NULL);

    g_assert_cmphex(qtest_readl(qts, GED_EVENT_SELECTOR), ==, 0);
    cpu_plug(qts, t, 2, "a");
    g_assert_cmphex(qtest_readl(qts, GED_EVENT_SELECTOR), ==,
                    GED_EVENT_CPU_HOTPLUG);
    g_assert_cmphex(qtest_readl(qts, GED_EVENT_SELECTOR), ==, 0);
    control_write(qts, 2, CTRL_CLEAR_INSERT);
    qtest_qmp_device_del_send(qts, "a");
    g_assert_cmphex(qtest_readl(qts, GED_EVENT_SELECTOR), ==,
                    GED_EVENT_CPU_HOTPLUG);
    qtest_quit(qts);
}

/* CPUs of -device and of -smp are there at start; those of -device can go */
static void test_cold_plugged(void)
{
    const Topology *t = &small;
    bool taken[] = { true, true, false, true };
    g_autofree char *args = cpu_device_args(t, 3, "cold");
    QTestState *qts = machine_start(t, args);

    slots_check(qts, t, taken);
    flags_check(qts, t, taken);
    madt_check_flags(qts, t, taken);
    g_assert_cmphex(qtest_readl(qts, GED_EVENT_SELECTOR), ==, 0);

    cpu_unplug(qts, 3, "cold");
    taken[3] = false;
    qtest_system_reset(qts);
    madt_check_flags(qts, t, taken);
    qtest_quit(qts);
}

/* A CPU of -smp has no id, and is removed by its path */
static void test_smp_cpu(void)
{
    const Topology *t = &small;
    bool taken[] = { true, false, false, false };
    QTestState *qts = machine_start(t, NULL);
    char **paths = slots_query(qts, t);

    qtest_qmp_device_del_send(qts, paths[1]);
    g_assert_cmphex(flags_read(qts, 1), ==, FLAG_ENABLED | FLAG_REMOVE);
    control_write(qts, 1, CTRL_CLEAR_REMOVE);
    control_write(qts, 1, CTRL_EJECT);
    qtest_qmp_eventwait(qts, "DEVICE_DELETED");
    slots_check(qts, t, taken);
    qtest_system_reset(qts);
    madt_check_flags(qts, t, taken);

    cpu_plug(qts, t, 1, "again");
    slots_free(paths, t);
    paths = slots_query(qts, t);
    g_assert_cmpstr(paths[1], ==, "/machine/peripheral/again");
    slots_free(paths, t);
    qtest_quit(qts);
}

/*
 * At a reset, the guest learns of a CPU that was plugged from the tables, so
 * that the event must be gone (or the first device_del would be lost), and a
 * removal that it has not answered is carried out.
 */
static void test_reset_with_event(void)
{
    const Topology *t = &small;
    bool taken[] = { true, true, true, false };
    QTestState *qts = machine_start(t, NULL);

    cpu_plug(qts, t, 2, "a");
    qtest_system_reset(qts);
    madt_check_flags(qts, t, taken);
    flags_check(qts, t, taken);

    qtest_qmp_device_del_send(qts, "a");
    qtest_system_reset_nowait(qts);
    wait_device_event(qts, "DEVICE_DELETED", "a");
    taken[2] = false;
    slots_check(qts, t, taken);
    flags_check(qts, t, taken);
    madt_check_flags(qts, t, taken);
    qtest_quit(qts);
}

/* Plugged before the guest has ever run, as libvirt does it */
static void test_plug_before_start(void)
{
    const Topology *t = &small;
    bool taken[] = { true, true, true, false };
    QTestState *qts = machine_start(t, "-S");

    cpu_plug(qts, t, 2, "a");
    qtest_qmp_assert_success(qts, "{'execute': 'cont'}");
    madt_check_flags(qts, t, taken);
    flags_check(qts, t, taken);
    cpu_unplug(qts, 2, "a");
    qtest_quit(qts);
}

/* As long as no guest runs, it is not asked to eject a CPU. */
static void test_unplug_before_start(void)
{
    const Topology *t = &small;
    bool taken[] = { true, false, false, false };
    QTestState *qts = machine_start(t, "-S");
    char **paths = slots_query(qts, t);

    cpu_plug(qts, t, 2, "a");
    qtest_qmp_device_del(qts, "a");
    qtest_qmp_device_del(qts, paths[1]);
    slots_check(qts, t, taken);
    slots_free(paths, t);

    qtest_qmp_assert_success(qts, "{'execute': 'cont'}");
    cpu_plug(qts, t, 3, "b");
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    qtest_system_reset(qts);
    qtest_qmp_device_del(qts, "b");
    slots_check(qts, t, taken);
    flags_check(qts, t, taken);
    cpu_plug(qts, t, 1, "c");
    qtest_quit(qts);
}

/* What a generic loader has for a CPU is loaded on reset without the CPU. */
static void test_loader(void)
{
    const uint64_t address = SCRATCH_RAM + 0x10000;
    const Topology *t = &small;
    g_autofree char *args = g_strdup_printf(
        "-device loader,addr=0x%" PRIx64 ",data=0x12345678,data-len=4,"
        "cpu-num=1", address);
    QTestState *qts = machine_start(t, args);

    g_assert_cmphex(qtest_readl(qts, address), ==, 0x12345678);
    control_write(qts, 1, CTRL_EJECT);
    qtest_qmp_eventwait(qts, "DEVICE_DELETED");
    qtest_writel(qts, address, 0);
    qtest_system_reset(qts);
    g_assert_cmphex(qtest_readl(qts, address), ==, 0x12345678);
    qtest_quit(qts);
}

/*
 * The guest says @status of @event in slot @index, which QEMU passes on. The
 * device there has the id @id; NULL if that does not matter.
 */
static void ost_report(QTestState *qts, unsigned index, const char *id,
                       uint32_t event, uint32_t status)
{
    g_autofree char *slot = g_strdup_printf("%u", index);
    QDict *response, *info;

    ost_write(qts, index, event, status);
    response = qtest_qmp_eventwait_ref(qts, "ACPI_DEVICE_OST");
    info = qdict_get_qdict(qdict_get_qdict(response, "data"), "info");
    if (id) {
        g_assert_cmpstr(qdict_get_str(info, "device"), ==, id);
    }
    g_assert_cmpstr(qdict_get_str(info, "slot-type"), ==, "CPU");
    g_assert_cmpstr(qdict_get_str(info, "slot"), ==, slot);
    g_assert_cmpint(qdict_get_int(info, "source"), ==, event);
    g_assert_cmpint(qdict_get_int(info, "status"), ==, status);
    qobject_unref(response);
}

/* _OST reports reach the user; a refusal ends the request, progress does not */
static void test_ost(void)
{
    static const struct {
        uint32_t event, status;
        bool refused;
    } reports[] = {
        { 1, 0, false },            /* device check: success */
        { 1, 0x82, false },         /* device check: failure */
        { 3, 0x84, false },         /* eject request: in progress */
        { 3, 0x80, true },          /* eject request: device in use */
    };
    const Topology *t = &small;
    QTestState *qts = machine_start(t, NULL);

    cpu_plug(qts, t, 2, "a");
    control_write(qts, 2, CTRL_CLEAR_INSERT);
    qtest_qmp_device_del_send(qts, "a");
    control_write(qts, 2, CTRL_CLEAR_REMOVE);

    for (unsigned i = 0; i < ARRAY_SIZE(reports); i++) {
        ost_report(qts, 2, "a", reports[i].event, reports[i].status);
        if (reports[i].refused) {
            wait_device_event(qts, "DEVICE_UNPLUG_GUEST_ERROR", "a");
        } else {
            assert_no_event(qts, "DEVICE_UNPLUG_GUEST_ERROR");
        }
    }

    /* The CPU is still there, and can be asked for again. */
    cpu_unplug(qts, 2, "a");
    qtest_quit(qts);
}

/* Ask for the CPU @id in slot @index; the guest hears of it. */
static void request_removal(QTestState *qts, unsigned index, const char *id)
{
    qtest_qmp_device_del_send(qts, id);
    control_write(qts, index, CTRL_CLEAR_REMOVE);
}

/* A guest that never answers: others can come and go, and a reset answers. */
static void test_answer_missing(void)
{
    const Topology *t = &small;
    bool taken[] = { true, true, false, false };
    QTestState *qts = machine_start(t, NULL);

    /* It has not even heard of the CPU. */
    cpu_plug(qts, t, 2, "a");
    for (unsigned i = 0; i < 100; i++) {
        qtest_qmp_device_del_send(qts, "a");
    }
    g_assert_cmphex(flags_read(qts, 2), ==,
                    FLAG_ENABLED | FLAG_INSERT | FLAG_REMOVE);
    for (unsigned i = 0; i < 3; i++) {
        cpu_plug(qts, t, 3, "b");
        control_write(qts, 3, CTRL_CLEAR_INSERT);
        cpu_unplug(qts, 3, "b");
    }
    g_assert_cmphex(flags_read(qts, 2), ==,
                    FLAG_ENABLED | FLAG_INSERT | FLAG_REMOVE);

    qtest_system_reset_nowait(qts);
    wait_device_event(qts, "DEVICE_DELETED", "a");
    assert_no_event(qts, "DEVICE_DELETED");
    slots_check(qts, t, taken);
    flags_check(qts, t, taken);
    qtest_quit(qts);
}

/* Only the first answer ends a request, but a guest may change its mind. */
static void test_answer_twice(void)
{
    const Topology *t = &small;
    bool taken[] = { true, true, false, false };
    QTestState *qts = machine_start(t, NULL);

    cpu_plug(qts, t, 2, "a");
    control_write(qts, 2, CTRL_CLEAR_INSERT);

    /* It refuses twice, ejects the CPU all the same, and that twice as well. */
    request_removal(qts, 2, "a");
    ost_report(qts, 2, NULL, EJECT_REQUEST, OST_IN_USE);
    wait_device_event(qts, "DEVICE_UNPLUG_GUEST_ERROR", "a");
    ost_report(qts, 2, NULL, EJECT_REQUEST, OST_IN_USE);
    assert_no_event(qts, "DEVICE_UNPLUG_GUEST_ERROR");
    g_assert_cmphex(flags_read(qts, 2), ==, FLAG_ENABLED);
    control_write(qts, 2, CTRL_EJECT);
    control_write(qts, 2, CTRL_EJECT);
    wait_device_event(qts, "DEVICE_DELETED", "a");
    control_write(qts, 2, CTRL_EJECT);
    assert_no_event(qts, "DEVICE_DELETED");

    /* Refusals for a CPU that is gone */
    ost_report(qts, 2, NULL, EJECT_REQUEST, OST_IN_USE);
    ost_report(qts, 2, NULL, EJECT_REQUEST, OST_SUCCESS);
    assert_no_event(qts, "DEVICE_UNPLUG_GUEST_ERROR");

    /* It says twice that the CPU is ejected, which is not so, and refuses. */
    cpu_plug(qts, t, 2, "b");
    control_write(qts, 2, CTRL_CLEAR_INSERT);
    request_removal(qts, 2, "b");
    ost_report(qts, 2, NULL, EJECT_REQUEST, OST_SUCCESS);
    ost_report(qts, 2, NULL, EJECT_REQUEST, OST_SUCCESS);
    assert_no_event(qts, "DEVICE_UNPLUG_GUEST_ERROR");
    g_assert_cmphex(flags_read(qts, 2), ==, FLAG_ENABLED);
    ost_report(qts, 2, NULL, EJECT_REQUEST, OST_IN_USE);
    wait_device_event(qts, "DEVICE_UNPLUG_GUEST_ERROR", "b");

    cpu_unplug(qts, 2, "b");
    slots_check(qts, t, taken);
    flags_check(qts, t, taken);
    qtest_quit(qts);
}

/* Answers for slots that nobody asked for leave the request as it is. */
static void test_answer_for_other(void)
{
    static const uint32_t none[] = { 4, 1u << 31, UINT32_MAX };
    const Topology *t = &small;
    bool taken[] = { true, true, false, false };
    QTestState *qts = machine_start(t, NULL);

    cpu_plug(qts, t, 2, "a");
    cpu_plug(qts, t, 3, "b");
    control_write(qts, 2, CTRL_CLEAR_INSERT);
    control_write(qts, 3, CTRL_CLEAR_INSERT);

    request_removal(qts, 2, "a");
    ost_report(qts, 0, NULL, EJECT_REQUEST, OST_IN_USE);
    ost_report(qts, 1, NULL, EJECT_REQUEST, OST_IN_USE);
    ost_report(qts, 3, NULL, EJECT_REQUEST, OST_IN_USE);
    assert_no_event(qts, "DEVICE_UNPLUG_GUEST_ERROR");
    for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
        ost_write(qts, none[i], EJECT_REQUEST, OST_IN_USE);
        assert_no_event(qts, "ACPI_DEVICE_OST");
    }
    ost_report(qts, 2, NULL, EJECT_REQUEST, OST_IN_USE);
    wait_device_event(qts, "DEVICE_UNPLUG_GUEST_ERROR", "a");

    /* The CPU that it ejects is not the one that it was asked for. */
    request_removal(qts, 2, "a");
    control_write(qts, 3, CTRL_EJECT);
    wait_device_event(qts, "DEVICE_DELETED", "b");
    assert_no_event(qts, "DEVICE_DELETED");
    g_assert_cmphex(flags_read(qts, 2), ==, FLAG_ENABLED);
    g_assert_cmphex(flags_read(qts, 3), ==, 0);
    control_write(qts, 2, CTRL_EJECT);
    wait_device_event(qts, "DEVICE_DELETED", "a");
    slots_check(qts, t, taken);
    flags_check(qts, t, taken);
    qtest_quit(qts);
}

/* A refusal that nobody asked for is no end of a later request. */
static void test_answer_unasked(void)
{
    const Topology *t = &small;
    QTestState *qts = machine_start(t, NULL);

    cpu_plug(qts, t, 2, "a");
    for (unsigned i = 0; i < 4; i++) {
        ost_report(qts, i, NULL, EJECT_REQUEST, OST_IN_USE);
    }
    control_write(qts, 2, CTRL_CLEAR_INSERT);
    ost_report(qts, 2, NULL, EJECT_REQUEST, OST_IN_USE);
    assert_no_event(qts, "DEVICE_UNPLUG_GUEST_ERROR");

    qtest_qmp_device_del_send(qts, "a");
    assert_no_event(qts, "DEVICE_UNPLUG_GUEST_ERROR");
    g_assert_cmphex(flags_read(qts, 2), ==, FLAG_ENABLED | FLAG_REMOVE);
    cpu_unplug(qts, 2, "a");
    qtest_quit(qts);
}

typedef struct Refusal {
    const char *name;
    const char *args;           /* of device_add, as JSON */
    const char *pattern;        /* that QEMU's message must match */
} Refusal;

#define NOT_SET " is not set, and without it the CPU's slot is not known; " \
                "query-hotpluggable-cpus lists the properties of each slot"
#define OUT_OF_RANGE(n) ", but this machine has slots with 0 to " #n " only; " \
                "query-hotpluggable-cpus lists the properties of each slot"
#define SLOT_2 "'socket-id':1,'cluster-id':0,'core-id':0,'thread-id':0"

/* For the machine "small": slots 2 and 3 are those of socket 1 */
static const Refusal refusals[] = {
    {
        "type", "{'driver':'cortex-a53-arm-cpu'," SLOT_2 "}",
        "The CPUs of this machine are of type '" CPU_TYPE "', to which a CPU "
        "of type 'cortex-a53-arm-cpu' cannot be added"
    }, {
        "no-socket", "{'driver':'" CPU_TYPE "','cluster-id':0,'core-id':0,"
        "'thread-id':0}",
        "CPU property 'socket-id'" NOT_SET
    }, {
        "no-core", "{'driver':'" CPU_TYPE "','socket-id':1,'cluster-id':0,"
        "'thread-id':0}",
        "CPU property 'core-id'" NOT_SET
    }, {
        "core-unset", "{'driver':'" CPU_TYPE "','socket-id':1,'cluster-id':0,"
        "'core-id':-1,'thread-id':0}",
        "CPU property 'core-id'" NOT_SET
    }, {
        "socket", "{'driver':'" CPU_TYPE "','socket-id':2,'cluster-id':0,"
        "'core-id':0,'thread-id':0}",
        "CPU property 'socket-id' is 2" OUT_OF_RANGE(1)
    }, {
        "socket-huge", "{'driver':'" CPU_TYPE "','socket-id':2147483647,"
        "'cluster-id':0,'core-id':0,'thread-id':0}",
        "CPU property 'socket-id' is 2147483647" OUT_OF_RANGE(1)
    }, {
        "cluster", "{'driver':'" CPU_TYPE "','socket-id':1,'cluster-id':1,"
        "'core-id':0,'thread-id':0}",
        "CPU property 'cluster-id' is 1" OUT_OF_RANGE(0)
    }, {
        "core", "{'driver':'" CPU_TYPE "','socket-id':1,'cluster-id':0,"
        "'core-id':-2,'thread-id':0}",
        "CPU property 'core-id' is -2" OUT_OF_RANGE(1)
    }, {
        "thread", "{'driver':'" CPU_TYPE "','socket-id':1,'cluster-id':0,"
        "'core-id':0,'thread-id':1}",
        "CPU property 'thread-id' is 1" OUT_OF_RANGE(0)
    }, {
        "taken", "{'driver':'" CPU_TYPE "','socket-id':0,'cluster-id':0,"
        "'core-id':1,'thread-id':0}",
        "CPU slot with socket-id=0,cluster-id=0,core-id=1,thread-id=0 is taken "
        "by /machine/unattached/device[1]; slots that "
        "query-hotpluggable-cpus lists without qom-path are free"
    }, {
        "feature", "{'driver':'" CPU_TYPE "'," SLOT_2 ",'pmu':false}",
        "CPU property 'pmu' is false, but true for the CPUs that the machine "
        "was started with, and all must be alike; leave it out"
    }, {
        "node", "{'driver':'" CPU_TYPE "'," SLOT_2 ",'node-id':1}",
        "*node-id*"
    },
};

static void assert_error(QDict *response, const char *pattern)
{
    const char *desc;

    g_assert_true(qdict_haskey(response, "error"));
    desc = qdict_get_str(qdict_get_qdict(response, "error"), "desc");
    if (!g_pattern_match_simple(pattern, desc)) {
        g_error("QEMU says \"%s\", which does not match \"%s\"", desc,
                pattern);
    }
    qobject_unref(response);
}

static void assert_device_add_refused(QTestState *qts, const char *args,
                                      const char *pattern)
{
    assert_error(qtest_qmp(qts, "{'execute': 'device_add', 'arguments': %p}",
                           qobject_from_json(args, &error_abort)), pattern);
}

/* A device_add that cannot be is refused with the reason; nothing changes. */
static void test_plug_refused(void)
{
    const Topology *t = &small;
    bool taken[] = { true, true, false, false };
    QTestState *qts = machine_start(t, NULL);

    for (unsigned i = 0; i < ARRAY_SIZE(refusals); i++) {
        g_test_message("%s", refusals[i].name);
        assert_device_add_refused(qts, refusals[i].args, refusals[i].pattern);
        slots_check(qts, t, taken);
        flags_check(qts, t, taken);
    }
    cpu_plug(qts, t, 2, "a");
    qtest_quit(qts);
}

#define OTHER_LENGTH(name) \
    "CPU property '" name "' is set in another way than for the CPUs that " \
    "the machine was started with, and all must be alike; leave it out"

/* Vector lengths, which a CPU does not show before it is realized */
static void test_vector_lengths(void)
{
    static const struct {
        const char *args, *pattern;
    } refused[] = {
        /* The second is what no CPU can have. */
        { "{'driver':'max-arm-cpu','core-id':2,'sve512':false}",
          OTHER_LENGTH("sve512") },
        { "{'driver':'max-arm-cpu','core-id':2,'sve128':false}",
          OTHER_LENGTH("sve128") },
        { "{'driver':'max-arm-cpu','core-id':2,'sve256':true}",
          "CPU property 'sve256' is true, but false for the CPUs *" },
        { "{'driver':'max-arm-cpu','core-id':2,'sme1024':false}",
          OTHER_LENGTH("sme1024") },
        { "{'driver':'max-arm-cpu','core-id':2,'sve-max-vq':2}",
          "CPU property 'sve-max-vq' is 2, but 0 for the CPUs *" },
    };
    QTestState *qts = qtest_init("-nodefaults -machine virt,cpu-hotplug=on "
                                 "-S -accel tcg -cpu max,sve256=off "
                                 EMPTY_FIRMWARE " -smp 1,maxcpus=4");

    for (unsigned i = 0; i < ARRAY_SIZE(refused); i++) {
        QDict *response;

        assert_device_add_refused(qts, refused[i].args, refused[i].pattern);
        response = qtest_qmp(qts, "{'execute': 'query-cpus-fast'}");
        g_assert_cmpuint(qlist_size(qdict_get_qlist(response, "return")), ==,
                         1);
        qobject_unref(response);
    }
    qtest_qmp_device_add(qts, "max-arm-cpu", "a", "{'core-id': 2}");
    qtest_qmp_device_add(qts, "max-arm-cpu", "b",
                         "{'core-id': 3, 'sve256': false}");
    qtest_quit(qts);
}

/* The topology of -smp 2,maxcpus=8 */
static const Topology flat = { "flat", 2, 1, 1, 8, 1, "" };

/* An id may be left out where there is only one, and nowhere else. */
static void test_optional_ids(void)
{
    static const char *const ids[] = {
        "socket-id", "cluster-id", "core-id", "thread-id"
    };
    const Topology *all = &topologies[6];
    bool taken[8] = { true, true, [3] = true, [5] = true, [7] = true };
    QTestState *qts = machine_start(&flat, "-device " CPU_TYPE ",core-id=7 "
                                    "-device " CPU_TYPE ",core-id=5,"
                                    "cluster-id=0");

    qtest_qmp_device_add(qts, CPU_TYPE, "a", "{'core-id': 3}");
    slots_check(qts, &flat, taken);
    assert_device_add_refused(qts, "{'driver':'" CPU_TYPE "','core-id':3}",
                              "CPU slot with socket-id=0,cluster-id=0,"
                              "core-id=3,thread-id=0 is taken*");
    assert_device_add_refused(qts, "{'driver':'" CPU_TYPE "'}",
                              "CPU property 'core-id'" NOT_SET);
    control_write(qts, 3, CTRL_CLEAR_INSERT);
    cpu_unplug(qts, 3, "a");
    /* What some clients send: they do not know of clusters. */
    qtest_qmp_device_add(qts, CPU_TYPE, "a", "{'socket-id': 0, 'core-id': 3, "
                         "'thread-id': 0}");
    slots_check(qts, &flat, taken);
    qtest_quit(qts);

    g_assert_cmpstr(all->name, ==, "clusters");
    qts = machine_start(all, NULL);
    for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
        g_autofree char *pattern = g_strdup_printf("CPU property '%s'" NOT_SET,
                                                   ids[i]);
        QDict *args = slot_props(all, topology_max_cpus(all) - 1);

        qdict_del(args, ids[i]);
        qdict_put_str(args, "driver", CPU_TYPE);
        assert_error(qtest_qmp(qts, "{'execute': 'device_add', "
                               "'arguments': %p}", args), pattern);
    }
    qtest_quit(qts);

    /* A node for some slots, by core-id alone */
    qts = machine_start(&flat, "-object memory-backend-ram,id=ram0,size=256M "
                        "-numa node,nodeid=0,memdev=ram0 -numa node,nodeid=1 "
                        "-numa cpu,node-id=0,core-id=0 "
                        "-numa cpu,node-id=0,core-id=1 "
                        "-numa cpu,node-id=1,core-id=2 "
                        "-numa cpu,node-id=1,core-id=3 "
                        "-numa cpu,node-id=1,core-id=4 "
                        "-numa cpu,node-id=1,core-id=5 "
                        "-numa cpu,node-id=1,core-id=6 "
                        "-numa cpu,node-id=1,core-id=7");
    assert_device_add_refused(qts, "{'driver':'" CPU_TYPE "','core-id':3,"
                              "'node-id':0}", "*node-id*");
    qtest_qmp_device_add(qts, CPU_TYPE, "a", "{'core-id': 3, 'node-id': 1}");
    qtest_qmp_device_add(qts, CPU_TYPE, "b", "{'core-id': 4}");
    qtest_quit(qts);
}

/* A node for each slot by monitor, before the machine exists */
static void test_preconfig(const void *machine)
{
    QTestState *qts = qtest_initf("-nodefaults --preconfig -machine %s,"
                                  "cpu-hotplug=on -cpu cortex-a57 -m 256M "
                                  EMPTY_FIRMWARE " -smp 2,maxcpus=4 "
                                  "-object memory-backend-ram,id=ram0,"
                                  "size=256M "
                                  "-numa node,nodeid=0,memdev=ram0 "
                                  "-numa node,nodeid=1",
                                  (const char *)machine);
    QDict *response;
    QListEntry *entry;

    /* Slots are known, and have no CPU yet. */
    response = qtest_qmp(qts, "{'execute': 'query-hotpluggable-cpus'}");
    g_assert_cmpuint(qlist_size(qdict_get_qlist(response, "return")), ==, 4);
    qobject_unref(response);
    for (int i = 0; i < 4; i++) {
        qtest_qmp_assert_success(qts, "{'execute': 'set-numa-node',"
                                 " 'arguments': {'type': 'cpu', 'node-id': %d,"
                                 " 'core-id': %d}}", 1 - i / 2, i);
    }
    qtest_qmp_assert_success(qts, "{'execute': 'x-exit-preconfig'}");
    qtest_qmp_eventwait(qts, "RESUME");

    qtest_qmp_device_add(qts, CPU_TYPE, "a", "{'core-id': 3}");
    response = qtest_qmp(qts, "{'execute': 'query-hotpluggable-cpus'}");
    QLIST_FOREACH_ENTRY(qdict_get_qlist(response, "return"), entry) {
        QDict *slot = qobject_to(QDict, qlist_entry_obj(entry));
        QDict *props = qdict_get_qdict(slot, "props");
        int core = qdict_get_int(props, "core-id");

        g_assert_cmpint(qdict_get_int(props, "node-id"), ==, 1 - core / 2);
        g_assert_cmpint(qdict_haskey(slot, "qom-path"), ==, core != 2);
    }
    qobject_unref(response);
    qtest_quit(qts);
}

static void test_unplug_refused(void)
{
    const Topology *t = &small;
    QTestState *qts = machine_start(t, NULL);
    char **paths = slots_query(qts, t);

    assert_error(qtest_qmp(qts, "{'execute': 'device_del', "
                           "'arguments': {'id': %s}}", paths[0]),
                 "The boot CPU cannot be removed, only one of the others that "
                 "query-hotpluggable-cpus lists with qom-path");
    g_assert_cmphex(flags_read(qts, 0), ==, FLAG_ENABLED);

    slots_free(paths, t);
    qtest_quit(qts);
}

/* To ask twice is no error: the guest is told again, and removes it once. */
static void test_unplug_twice(void)
{
    const Topology *t = &small;
    QTestState *qts = machine_start(t, NULL);

    cpu_plug(qts, t, 2, "a");
    control_write(qts, 2, CTRL_CLEAR_INSERT);
    qtest_qmp_device_del_send(qts, "a");
    cpu_unplug(qts, 2, "a");
    assert_no_event(qts, "DEVICE_DELETED");

    /* So it is when the guest has heard of the first request already. */
    cpu_plug(qts, t, 2, "a");
    control_write(qts, 2, CTRL_CLEAR_INSERT);
    qtest_qmp_device_del_send(qts, "a");
    control_write(qts, 2, CTRL_CLEAR_REMOVE);
    cpu_unplug(qts, 2, "a");
    assert_no_event(qts, "DEVICE_DELETED");
    qtest_quit(qts);
}

/* Why CPUs cannot be plugged into a machine */
typedef struct Blocker {
    const char *name;
    const char *args;
    const char *pattern;
    bool not_an_error;          /* with cpu-hotplug=on */
    bool tcg;                   /* needs that accelerator to be built in */
} Blocker;

#define SMP "-smp 2,maxcpus=4,sockets=4,cores=1 "
#define A57 "-cpu cortex-a57 "

static const Blocker blockers[] = {
    {
        "full", EMPTY_FIRMWARE " -smp 2 " A57,
        "*as many CPUs as it may have*maxcpus*", true
    }, {
        "off", EMPTY_FIRMWARE " -machine cpu-hotplug=off " SMP A57,
        "*it is off, *; use 'cpu-hotplug=auto'*", true
    }, {
        "acpi", EMPTY_FIRMWARE " -machine acpi=off " SMP A57,
        "*it needs ACPI; use 'acpi=on'*"
    }, {
        "firmware", SMP A57,
        "*it needs UEFI firmware, *; use -bios, or pflash*"
    }, {
        "secure", EMPTY_FIRMWARE " -machine secure=on " SMP A57,
        "*it needs QEMU's PSCI, *; use 'secure=off'*"
    }, {
        "gicv2", EMPTY_FIRMWARE " -machine gic-version=2 " SMP A57,
        "*it needs a GICv3 or GICv4, not a GICv2; use 'gic-version=3'*"
    }, {
        "32-bit", EMPTY_FIRMWARE " -machine gic-version=3 " SMP
        "-S -accel tcg -cpu cortex-a15",
        "*it needs 64-bit CPUs, *cortex-a15* is 32-bit; *", .tcg = true
    }, {
        "single-threaded", EMPTY_FIRMWARE " " SMP A57
        "-S -accel tcg,thread=single",
        "*it needs a thread per vCPU; use -accel tcg,thread=multi*",
        .tcg = true
    }, {
        "icount", EMPTY_FIRMWARE " " SMP A57 "-S -accel tcg -icount shift=7",
        "*-icount runs all vCPUs in one thread, *", .tcg = true
    },
};

/* The machine starts, as it always has, and device_add says what is missing */
static void test_blocked(const void *data)
{
    const Blocker *blocker = data;
    QTestState *qts = qtest_initf("-nodefaults "
                                  "-machine virt,cpu-hotplug=auto %s",
                                  blocker->args);

    assert_device_add_refused(
        qts, strstr(blocker->args, "a15")
        ? "{'driver':'cortex-a15-arm-cpu','socket-id':2,'cluster-id':0,"
          "'core-id':0,'thread-id':0}"
        : "{'driver':'" CPU_TYPE "','socket-id':2,'cluster-id':0,"
          "'core-id':0,'thread-id':0}", blocker->pattern);

    /* There are no registers. */
    qtest_writel(qts, CPUHP_SELECTOR, 0);
    g_assert_cmphex(qtest_readb(qts, CPUHP_FLAGS), ==, 0);
    qtest_quit(qts);
}

/* A machine with @args does not start, and says why. */
static void assert_start_refused(const char *args, const char *pattern)
{
    g_autofree char *command = NULL, *errors = NULL, *dtb = NULL;
    int fd, status;

    /* Should the machine start, it dumps a device tree and exits. */
    fd = g_file_open_tmp("arm-cpu-hotplug-XXXXXX.dtb", &dtb, NULL);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    command = g_strdup_printf("%s -nodefaults -machine virt %s "
                              "-machine dumpdtb=%s -accel qtest -display none",
                              qtest_qemu_binary(NULL), args, dtb);
    g_assert_true(g_spawn_command_line_sync(command, NULL, &errors, &status,
                                            NULL));
    unlink(dtb);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, EXIT_FAILURE);
    if (!g_pattern_match_simple(pattern, errors)) {
        g_error("QEMU says \"%s\", which does not match \"%s\"", errors,
                pattern);
    }
}

/* cpu-hotplug=on: the machine does not start, and says what is missing */
static void test_required(const void *data)
{
    const Blocker *blocker = data;
    g_autofree char *args = g_strdup_printf("%s -machine cpu-hotplug=on",
                                            blocker->args);

    assert_start_refused(args, blocker->pattern);
}

/* A GIC whose redistributors and CPUs do not go together */
static void test_gic_refused(void)
{
    assert_start_refused("-machine gic-version=3 -cpu cortex-a57 -smp 2 "
                         "-global arm-gicv3.first-cpu-index=1",
                         "*There is no CPU 2 for redistributor 1, and without "
                         "mp-affinity there must be one*");
    assert_start_refused(EMPTY_FIRMWARE " -machine cpu-hotplug=on "
                         "-cpu cortex-a57 -smp 2,maxcpus=4 "
                         "-global arm-gicv3.first-cpu-index=1",
                         "*mp-affinity of redistributor 0 is 0x0, but 0x1 of "
                         "its CPU*");
}

/* What a hostile guest does to the registers */
typedef struct Abuse {
    const char *name;
    uint32_t selector;
    uint8_t offset, size;
    uint32_t value;
} Abuse;

static const Abuse abuses[] = {
    { "selector behind the last", 4, CPUHP_FLAGS - CPUHP, 1, CTRL_EJECT },
    { "selector huge", UINT32_MAX, CPUHP_FLAGS - CPUHP, 1, CTRL_EJECT },
    { "selector sign", 1u << 31, CPUHP_COMMAND - CPUHP, 1, CMD_NEXT_EVENT },
    { "eject the boot CPU", 0, CPUHP_FLAGS - CPUHP, 1, CTRL_EJECT },
    { "eject an empty slot", 3, CPUHP_FLAGS - CPUHP, 1, CTRL_EJECT },
    { "firmware eject the boot CPU", 0, CPUHP_FLAGS - CPUHP, 1,
      CTRL_FW_REMOVE },
    { "firmware eject an empty slot", 3, CPUHP_FLAGS - CPUHP, 1,
      CTRL_FW_REMOVE },
    { "clear no event", 1, CPUHP_FLAGS - CPUHP, 1,
      CTRL_CLEAR_INSERT | CTRL_CLEAR_REMOVE },
    { "reserved control bits", 1, CPUHP_FLAGS - CPUHP, 1, 0xe1 },
    { "reserved command", 1, CPUHP_COMMAND - CPUHP, 1, 4 },
    { "reserved command 255", 1, CPUHP_COMMAND - CPUHP, 1, 255 },
    { "data of no command", 1, CPUHP_DATA - CPUHP, 4, UINT32_MAX },
};

static void write_sized(QTestState *qts, uint64_t addr, unsigned size,
                        uint32_t value)
{
    switch (size) {
    case 1:
        qtest_writeb(qts, addr, value);
        break;
    case 2:
        qtest_writew(qts, addr, value);
        break;
    default:
        qtest_writel(qts, addr, value);
        break;
    }
}

static uint32_t read_sized(QTestState *qts, uint64_t addr, unsigned size)
{
    return size == 1 ? qtest_readb(qts, addr) :
           size == 2 ? qtest_readw(qts, addr) : qtest_readl(qts, addr);
}

static void test_abuse(void)
{
    const Topology *t = &small;
    bool taken[] = { true, true, false, false };
    QTestState *qts = machine_start(t, NULL);

    for (unsigned i = 0; i < ARRAY_SIZE(abuses); i++) {
        const Abuse *a = &abuses[i];

        g_test_message("%s", a->name);
        qtest_writel(qts, CPUHP_SELECTOR, a->selector);
        write_sized(qts, CPUHP + a->offset, a->size, a->value);
        if (a->selector >= topology_max_cpus(t)) {
            for (unsigned offset = 0; offset < CPUHP_LEN; offset++) {
                g_assert_cmphex(qtest_readb(qts, CPUHP + offset), ==, 0);
            }
        }
        flags_check(qts, t, taken);
        slots_check(qts, t, taken);
    }
    assert_no_event(qts, "DEVICE_DELETED");
    qtest_quit(qts);
}

/* Every offset and size, without the bits that may remove a CPU */
static void test_every_access(void)
{
    static const uint32_t values[] = { 0, 1, 2, 6, UINT32_MAX };
    const Topology *t = &small;
    bool taken[] = { true, true, false, false };
    QTestState *qts = machine_start(t, NULL);

    for (unsigned size = 1; size <= 4; size *= 2) {
        /* One past the end, too. */
        for (unsigned offset = 0; offset <= CPUHP_LEN; offset++) {
            for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
                for (unsigned slot = 0; slot <= 4; slot += 2) {
                    qtest_writel(qts, CPUHP_SELECTOR, slot);
                    write_sized(qts, CPUHP + offset, size, values[i]);
                    read_sized(qts, CPUHP + offset, size);
                }
            }
            flags_check(qts, t, taken);
        }
    }
    slots_check(qts, t, taken);
    qtest_quit(qts);
}

/* An eject that nobody asked for is the guest's own loss: as with device_del */
static void test_eject_unasked(void)
{
    const Topology *t = &small;
    bool taken[] = { true, true, false, false };
    QTestState *qts = machine_start(t, NULL);

    cpu_plug(qts, t, 2, "a");
    control_write(qts, 2, CTRL_EJECT);
    wait_device_event(qts, "DEVICE_DELETED", "a");
    flags_check(qts, t, taken);
    slots_check(qts, t, taken);

    /* No event of its predecessor is left for the next CPU of the slot. */
    cpu_plug(qts, t, 2, "b");
    g_assert_cmphex(flags_read(qts, 2), ==, FLAG_ENABLED | FLAG_INSERT);
    control_write(qts, 2, CTRL_CLEAR_INSERT);
    cpu_unplug(qts, 2, "b");
    qtest_quit(qts);
}

/* Writes at random, with all CPUs there and one asked back */
static void test_random(void)
{
    const Topology *t = &small;
    QTestState *qts = machine_start(t, NULL);
    char **paths;

    cpu_plug(qts, t, 2, "a");
    cpu_plug(qts, t, 3, "b");
    qtest_qmp_device_del_send(qts, "b");

    for (unsigned i = 0; i < 2000; i++) {
        unsigned offset = g_test_rand_int_range(0, CPUHP_LEN + 1);
        unsigned size = 1 << g_test_rand_int_range(0, 3);
        /* Small values have a meaning more often. */
        uint32_t value = (uint32_t)g_test_rand_int() >>
                         g_test_rand_int_range(0, 32);

        write_sized(qts, CPUHP + offset, size, value);
        read_sized(qts, CPUHP + offset, size);
    }

    paths = slots_query(qts, t);
    g_assert_nonnull(paths[0]);
    for (unsigned i = 0; i < topology_max_cpus(t); i++) {
        g_assert_cmpint(paths[i] != NULL, ==,
                        !!(flags_read(qts, i) & FLAG_ENABLED));
    }
    slots_free(paths, t);
    qtest_system_reset(qts);
    qtest_quit(qts);
}

/*
 * --- Interrupts ---
 *
 * The redistributor of a slot is there whether the slot has a CPU or not, and
 * a guest may configure it, and send interrupts to it, at any time.
 */

/* The redistributors of all slots, in the regions that the MADT has */
typedef struct Redistributor {
    uint64_t address;
    bool last;                  /* of its region */
} Redistributor;

static Redistributor *redistributors(QTestState *qts, const Topology *t)
{
    unsigned count = 0, max_cpus = topology_max_cpus(t);
    Redistributor *found = g_new0(Redistributor, max_cpus);
    uint32_t length;
    g_autofree uint8_t *madt = acpi_table(qts, "APIC", &length);

    for (uint8_t *e = madt + 44; e < madt + length; e += e[1]) {
        if (e[0] == 14 /* GICR */) {
            unsigned frames = ldl_le_p(e + 12) / GICR_FRAMES;

            for (unsigned i = 0; i < frames && count < max_cpus; i++) {
                found[count].address = ldq_le_p(e + 4) + i * GICR_FRAMES;
                found[count].last = i == frames - 1;
                count++;
            }
            found[count - 1].last = true;
        }
    }
    g_assert_cmpuint(count, ==, max_cpus);
    return found;
}

/* Affinity, number and end of region, as firmware and kernel look for them */
static void redistributors_check(QTestState *qts, const Topology *t,
                                 const Redistributor *gicr,
                                 const uint64_t *mpidr)
{
    for (unsigned i = 0; i < topology_max_cpus(t); i++) {
        uint64_t typer = qtest_readq(qts, gicr[i].address + GICR_TYPER);
        uint32_t affinity = (mpidr[i] >> 8 & 0xff000000) |
                            (mpidr[i] & 0xffffff);

        g_assert_cmphex(typer >> 32, ==, affinity);
        g_assert_cmpuint(typer >> 8 & 0xffff, ==, i);
        g_assert_cmpint(!!(typer & GICR_TYPER_LAST), ==, gicr[i].last);
    }
}

static void redistributor_write(QTestState *qts, uint64_t gicr, unsigned seed)
{
    qtest_writel(qts, gicr + GICR_WAKER, 0);
    for (unsigned i = 0; i < 32; i += 4) {
        qtest_writel(qts, gicr + GICR_IPRIORITYR + i,
                     0x08080808 * (seed + i / 4));
    }
    qtest_writel(qts, gicr + GICR_IGROUPR0, UINT32_MAX);
    qtest_writel(qts, gicr + GICR_ISENABLER0, 1u << (seed + 16));
}

static void redistributor_check(QTestState *qts, uint64_t gicr, unsigned seed)
{
    g_assert_cmphex(qtest_readl(qts, gicr + GICR_WAKER), ==, 0);
    for (unsigned i = 0; i < 32; i += 4) {
        g_assert_cmphex(qtest_readl(qts, gicr + GICR_IPRIORITYR + i), ==,
                        0x08080808 * (seed + i / 4));
    }
    g_assert_cmphex(qtest_readl(qts, gicr + GICR_IGROUPR0), ==, UINT32_MAX);
    g_assert_cmphex(qtest_readl(qts, gicr + GICR_ISENABLER0) >> 16, ==,
                    1u << seed);
}

static void redistributor_check_reset(QTestState *qts, uint64_t gicr)
{
    g_assert_cmphex(qtest_readl(qts, gicr + GICR_WAKER), ==,
                    GICR_WAKER_ASLEEP);
    for (unsigned i = 0; i < 32; i += 4) {
        g_assert_cmphex(qtest_readl(qts, gicr + GICR_IPRIORITYR + i), ==, 0);
    }
    g_assert_cmphex(qtest_readl(qts, gicr + GICR_ISENABLER0) >> 16, ==, 0);
    g_assert_cmphex(qtest_readl(qts, gicr + GICR_ISPENDR0), ==, 0);
}

/*
 * The redistributors of all slots are there from the start, and what the guest
 * wrote to them stays, whoever comes and goes. The slots that are looked at
 * are the first and last free one, which may be in two regions.
 */
static void test_redistributors(const void *data)
{
    const Topology *t = data;
    unsigned max_cpus = topology_max_cpus(t);
    unsigned slots[] = { t->cpus, max_cpus - 1 };
    uint64_t gicr[ARRAY_SIZE(slots)];
    g_autofree bool *taken = g_new0(bool, max_cpus);
    g_autofree uint64_t *mpidr = NULL;
    g_autofree Redistributor *all = NULL;
    QTestState *qts = machine_start(t, NULL);

    for (unsigned i = 0; i < t->cpus; i++) {
        taken[i] = true;
    }
    mpidr = madt_check(qts, t, taken);
    all = redistributors(qts, t);
    redistributors_check(qts, t, all, mpidr);

    for (unsigned i = 0; i < ARRAY_SIZE(slots); i++) {
        gicr[i] = all[slots[i]].address;
        redistributor_check_reset(qts, gicr[i]);
        redistributor_write(qts, gicr[i], i + 1);
    }
    for (unsigned round = 0; round < 2; round++) {
        cpu_plug(qts, t, slots[0], "a");
        cpu_plug(qts, t, slots[1], "b");
        for (unsigned i = 0; i < ARRAY_SIZE(slots); i++) {
            control_write(qts, slots[i], CTRL_CLEAR_INSERT);
            redistributor_check(qts, gicr[i], i + 1 + round);
        }
        redistributors_check(qts, t, all, mpidr);

        /* Other values, while there is a CPU */
        for (unsigned i = 0; i < ARRAY_SIZE(slots); i++) {
            qtest_writel(qts, gicr[i] + GICR_ICENABLER0, UINT32_MAX);
            redistributor_write(qts, gicr[i], i + 2 + round);
        }
        cpu_unplug(qts, slots[0], "a");
        cpu_unplug(qts, slots[1], "b");
        for (unsigned i = 0; i < ARRAY_SIZE(slots); i++) {
            redistributor_check(qts, gicr[i], i + 2 + round);
        }
        redistributors_check(qts, t, all, mpidr);
    }

    cpu_plug(qts, t, slots[0], "a");
    qtest_system_reset(qts);
    for (unsigned i = 0; i < ARRAY_SIZE(slots); i++) {
        redistributor_check_reset(qts, gicr[i]);
    }
    redistributors_check(qts, t, all, mpidr);
    qtest_quit(qts);
}

/* Returns: the QOM path of the GIC */
static char *gic_path(QTestState *qts)
{
    g_autofree char *path = NULL;
    QDict *resp = qtest_qmp(qts, "{'execute': 'qom-list', 'arguments': "
                            "{'path': '/machine/unattached'}}");
    QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(resp, "return"), entry) {
        QDict *child = qobject_to(QDict, qlist_entry_obj(entry));

        if (!strcmp(qdict_get_str(child, "type"), "child<arm-gicv3>")) {
            path = g_strdup_printf("/machine/unattached/%s",
                                   qdict_get_str(child, "name"));
        }
    }
    qobject_unref(resp);
    g_assert_nonnull(path);
    return g_steal_pointer(&path);
}

static bool spi_pending(QTestState *qts, unsigned irq)
{
    return qtest_readl(qts, GICD + GICD_ISPENDR + irq / 32 * 4) >> irq % 32 & 1;
}

/* Enable the SPI @irq, send it to @route, and make it pending */
static void spi_send(QTestState *qts, unsigned irq, uint64_t route)
{
    uint32_t bit = 1u << irq % 32;
    uint64_t word = GICD + irq / 32 * 4;

    qtest_writel(qts, word + GICD_IGROUPR,
                 qtest_readl(qts, word + GICD_IGROUPR) | bit);
    qtest_writeb(qts, GICD + GICD_IPRIORITYR + irq, 0x80);
    qtest_writeq(qts, GICD + GICD_IROUTER + irq * 8, route);
    g_assert_cmphex(qtest_readq(qts, GICD + GICD_IROUTER + irq * 8), ==,
                    route);
    qtest_writel(qts, word + GICD_ISENABLER, bit);
    qtest_writel(qts, word + GICD_ISPENDR, bit);
    g_assert_true(spi_pending(qts, irq));
}

/* Interrupts that the test sends; no CPU takes them */
#define SGI         5
#define PPI         20
#define PPI_TIMER   27
#define SPI_BEFORE  40
#define SPI_WHILE   65
#define SPI_AFTER   100
#define SPI_OTHER   110
#define SPI_NOBODY  111
#define SPI_ANY     112
#define IRM         (1ull << 31)    /* to any CPU */

/* What is pending for a CPU that is not there waits for it, and harms nobody */
static void test_interrupts(const void *data)
{
    const Topology *t = data;
    unsigned max_cpus = topology_max_cpus(t);
    /* Not the next slot: lower ones stay free, and may be in another region. */
    unsigned slot = max_cpus - 1;
    unsigned irqs;
    uint64_t gicr;
    g_autofree bool *taken = g_new0(bool, max_cpus);
    g_autofree uint64_t *mpidr = NULL;
    g_autofree Redistributor *all = NULL;
    g_autofree char *gic = NULL;
    QTestState *qts = machine_start(t, NULL);

    for (unsigned i = 0; i < t->cpus; i++) {
        taken[i] = true;
    }
    mpidr = madt_check(qts, t, taken);
    gic = gic_path(qts);
    all = redistributors(qts, t);
    gicr = all[slot].address;
    qtest_writel(qts, GICD + GICD_CTLR, 3);         /* both groups */
    irqs = ((qtest_readl(qts, GICD + GICD_TYPER) & 0x1f) + 1) * 32;

    /* To a slot that never had a CPU */
    redistributor_write(qts, gicr, 1);
    qtest_writel(qts, gicr + GICR_ISENABLER0, UINT32_MAX);
    qtest_writel(qts, gicr + GICR_ISPENDR0, 1u << SGI | 1u << PPI);
    spi_send(qts, SPI_BEFORE, mpidr[slot]);
    spi_send(qts, SPI_OTHER, mpidr[slot - 1]);
    spi_send(qts, SPI_NOBODY, 0xff00ffffffull);
    spi_send(qts, SPI_ANY, IRM);

    cpu_plug(qts, t, slot, "a");
    control_write(qts, slot, CTRL_CLEAR_INSERT);
    g_assert_cmphex(qtest_readl(qts, gicr + GICR_ISPENDR0), ==,
                    1u << SGI | 1u << PPI);
    g_assert_true(spi_pending(qts, SPI_BEFORE));

    /* While it is there; the timer's line goes with the CPU that drives it. */
    spi_send(qts, SPI_WHILE, mpidr[slot]);
    qtest_set_irq_in(qts, gic, NULL, irqs - 32 + slot * 32 + PPI_TIMER, 1);
    g_assert_cmphex(qtest_readl(qts, gicr + GICR_ISPENDR0), ==,
                    1u << SGI | 1u << PPI | 1u << PPI_TIMER);
    cpu_unplug(qts, slot, "a");
    g_assert_cmphex(qtest_readl(qts, gicr + GICR_ISPENDR0), ==,
                    1u << SGI | 1u << PPI);

    /* To a slot that had a CPU */
    spi_send(qts, SPI_AFTER, mpidr[slot]);
    qtest_writel(qts, gicr + GICR_ICPENDR0, 1u << SGI);
    qtest_writel(qts, gicr + GICR_ISPENDR0, 1u << (SGI + 1));
    qtest_writeq(qts, GICD + GICD_IROUTER + SPI_WHILE * 8, mpidr[slot - 1]);

    for (unsigned i = 0; i < 2; i++) {
        cpu_plug(qts, t, slot, "b");
        control_write(qts, slot, CTRL_CLEAR_INSERT);
        g_assert_cmphex(qtest_readl(qts, gicr + GICR_ISPENDR0), ==,
                        1u << (SGI + 1) | 1u << PPI);
        cpu_unplug(qts, slot, "b");
    }
    g_assert_true(spi_pending(qts, SPI_BEFORE));
    g_assert_true(spi_pending(qts, SPI_WHILE));
    g_assert_true(spi_pending(qts, SPI_AFTER));
    g_assert_true(spi_pending(qts, SPI_OTHER));
    g_assert_true(spi_pending(qts, SPI_NOBODY));
    g_assert_true(spi_pending(qts, SPI_ANY));

    qtest_writel(qts, GICD + GICD_ICPENDR + SPI_AFTER / 32 * 4,
                 1u << SPI_AFTER % 32);
    g_assert_false(spi_pending(qts, SPI_AFTER));
    qtest_system_reset(qts);
    g_assert_false(spi_pending(qts, SPI_BEFORE));
    redistributor_check_reset(qts, gicr);
    cpu_plug(qts, t, slot, "c");
    qtest_quit(qts);
}

/* Memory for the tables of LPIs and ITS; 64 KiB each */
#define LPI_CONFIG      0x44000000
#define LPI_PENDING     0x44010000
#define ITS_DEVICES     0x44020000
#define ITS_COLLECTIONS 0x44030000
#define ITS_TRANSLATION 0x44040000
#define ITS_QUEUE       0x44050000
#define VALID           (1ull << 63)
#define LPI             8192        /* the first one */
#define LPIS            2

static void its_command(QTestState *qts, uint64_t d0, uint64_t d1, uint64_t d2)
{
    uint64_t tail = qtest_readq(qts, GITS + GITS_CWRITER);

    qtest_writeq(qts, ITS_QUEUE + tail, d0);
    qtest_writeq(qts, ITS_QUEUE + tail + 8, d1);
    qtest_writeq(qts, ITS_QUEUE + tail + 16, d2);
    qtest_writeq(qts, ITS_QUEUE + tail + 24, 0);
    qtest_writeq(qts, GITS + GITS_CWRITER, tail + 32);
    /* Done, and without an error that would stall the queue */
    g_assert_cmphex(qtest_readq(qts, GITS + GITS_CREADR), ==, tail + 32);
}

/* Let the ITS translate events 0 and up of device 0 to LPIs of slot @slot */
static void its_setup(QTestState *qts, unsigned slot)
{
    for (unsigned i = 0; i < 8; i++) {
        uint64_t reg = GITS + GITS_BASER + i * 8;
        unsigned type = qtest_readq(qts, reg) >> 56 & 7;

        if (type == 1) {
            qtest_writeq(qts, reg, VALID | ITS_DEVICES | 15);
        } else if (type == 4) {
            qtest_writeq(qts, reg, VALID | ITS_COLLECTIONS | 15);
        }
    }
    qtest_writeq(qts, GITS + GITS_CBASER, VALID | ITS_QUEUE | 15);
    qtest_writel(qts, GITS + GITS_CTLR, 1);

    its_command(qts, ITS_MAPD, 4, VALID | ITS_TRANSLATION);
    its_command(qts, ITS_MAPC, 0, VALID | slot << 16);
    for (unsigned i = 0; i < LPIS; i++) {
        its_command(qts, ITS_MAPTI, (uint64_t)(LPI + i) << 32 | i, 0);
    }
}

static bool lpi_pending(QTestState *qts, unsigned lpi)
{
    return qtest_readb(qts, LPI_PENDING + lpi / 8) >> lpi % 8 & 1;
}

/* The same for message-signalled interrupts, which the ITS sends on */
static void test_lpi(void)
{
    const Topology *t = &small;
    unsigned slot = 3;
    QTestState *qts = machine_start(t, NULL);
    g_autofree Redistributor *all = redistributors(qts, t);
    uint64_t gicr = all[slot].address;

    if (!(qtest_readq(qts, gicr + GICR_TYPER) & GICR_TYPER_PLPIS)) {
        g_test_skip("this GIC has no LPIs");
        qtest_quit(qts);
        return;
    }
    qtest_writel(qts, GICD + GICD_CTLR, 3);
    for (unsigned i = 0; i < LPIS; i++) {
        qtest_writeb(qts, LPI_CONFIG + i, 0x81);        /* enabled */
    }
    qtest_writeq(qts, gicr + GICR_PROPBASER, LPI_CONFIG | 15);
    qtest_writeq(qts, gicr + GICR_PENDBASER, LPI_PENDING);
    qtest_writel(qts, gicr + GICR_CTLR, GICR_CTLR_LPIS);
    its_setup(qts, slot);

    its_command(qts, ITS_INT, 0, 0);
    g_assert_true(lpi_pending(qts, LPI));
    for (unsigned i = 0; i < 3; i++) {
        cpu_plug(qts, t, slot, "a");
        control_write(qts, slot, CTRL_CLEAR_INSERT);
        g_assert_true(lpi_pending(qts, LPI));
        g_assert_true(qtest_readl(qts, gicr + GICR_CTLR) & GICR_CTLR_LPIS);
        its_command(qts, ITS_CLEAR, 0, 0);
        g_assert_false(lpi_pending(qts, LPI));
        its_command(qts, ITS_INT, 1, 0);
        cpu_unplug(qts, slot, "a");
        g_assert_true(lpi_pending(qts, LPI + 1));
        its_command(qts, ITS_INT, 0, 0);
        its_command(qts, ITS_CLEAR, 1, 0);
        g_assert_true(lpi_pending(qts, LPI));
        g_assert_false(lpi_pending(qts, LPI + 1));
    }
    qtest_system_reset(qts);
    cpu_plug(qts, t, slot, "b");
    qtest_quit(qts);
}

/*
 * What the AML does when the GED calls it: look for events, at most 255 in one
 * pass, then handle those, with a guest that gives up all that it is asked for.
 *
 * Returns: the number of events, whose slots are in @order
 */
static unsigned scan(QTestState *qts, unsigned max_cpus, unsigned *order)
{
    unsigned count = 0, uid = 0, inserted, removed;
    bool more;

    do {
        unsigned start = count;
        bool found = true;

        more = false;
        inserted = removed = 0;
        while (found && uid < max_cpus) {
            unsigned next;
            uint8_t flags;

            found = false;
            command_write(qts, uid, CMD_NEXT_EVENT);
            next = qtest_readl(qts, CPUHP_DATA);
            if (next < uid) {
                break;
            }
            if (inserted == 255 || removed == 255) {
                more = true;
                break;
            }
            uid = next;
            flags = qtest_readb(qts, CPUHP_FLAGS);
            if (flags & (FLAG_INSERT | FLAG_REMOVE)) {
                inserted += !!(flags & FLAG_INSERT);
                removed += !!(flags & FLAG_REMOVE);
                order[count++] = uid;
                found = true;
            }
            uid++;
        }
        for (unsigned i = start; i < count; i++) {
            uint8_t flags = flags_read(qts, order[i]);

            if (flags & FLAG_INSERT) {
                control_write(qts, order[i], CTRL_CLEAR_INSERT);
            }
            if (flags & FLAG_REMOVE) {
                control_write(qts, order[i], CTRL_CLEAR_REMOVE);
                control_write(qts, order[i], CTRL_EJECT);
            }
        }
    } while (more);
    return count;
}

static void wait_deleted_count(QTestState *qts, unsigned count)
{
    while (count) {
        QDict *event = qtest_qmp_eventwait_ref(qts, "DEVICE_DELETED");

        /* Each comes twice if the device has an id: by id, and by path. */
        count -= qdict_haskey(qdict_get_qdict(event, "data"), "device");
        qobject_unref(event);
    }
}

static const Topology many = { "many", 20, 1, 1, 300, 1, "" };

/* More events in one scan than one pass of the AML can hold */
static void test_many_events(void)
{
    const Topology *t = &many;
    unsigned max_cpus = topology_max_cpus(t);
    unsigned order[300] = { 0 };
    bool taken[300] = { false };
    QTestState *qts = machine_start(t, NULL);

    g_assert_cmpuint(scan(qts, max_cpus, order), ==, 0);

    /* Two at once first, the later slot before the other. */
    cpu_plug(qts, t, 200, "x");
    cpu_plug(qts, t, 100, "y");
    g_assert_cmpuint(scan(qts, max_cpus, order), ==, 2);
    g_assert_cmpuint(order[0], ==, 100);
    g_assert_cmpuint(order[1], ==, 200);
    qtest_qmp_device_del_send(qts, "x");
    qtest_qmp_device_del_send(qts, "y");
    g_assert_cmpuint(scan(qts, max_cpus, order), ==, 2);
    wait_deleted_count(qts, 2);

    for (unsigned i = 0; i < t->cpus; i++) {
        taken[i] = true;
    }
    slots_check(qts, t, taken);
    for (unsigned i = max_cpus; i-- > t->cpus;) {
        g_autofree char *id = g_strdup_printf("cpu%u", i);

        cpu_plug(qts, t, i, id);
        taken[i] = true;
    }
    g_assert_cmpuint(scan(qts, max_cpus, order), ==, max_cpus - t->cpus);
    for (unsigned i = 0; i < max_cpus - t->cpus; i++) {
        g_assert_cmpuint(order[i], ==, t->cpus + i);
    }
    flags_check(qts, t, taken);
    slots_check(qts, t, taken);

    for (unsigned i = t->cpus; i < max_cpus; i++) {
        g_autofree char *id = g_strdup_printf("cpu%u", i);

        qtest_qmp_device_del_send(qts, id);
        taken[i] = false;
    }
    g_assert_cmpuint(scan(qts, max_cpus, order), ==, max_cpus - t->cpus);
    wait_deleted_count(qts, max_cpus - t->cpus);
    flags_check(qts, t, taken);
    slots_check(qts, t, taken);
    g_assert_cmpuint(scan(qts, max_cpus, order), ==, 0);
    qtest_quit(qts);
}

/* Management software looks here before it offers CPU hotplug */
static void test_query_machines(void)
{
    QTestState *qts = qtest_init("-machine none");
    QDict *resp = qtest_qmp(qts, "{'execute': 'query-machines'}");
    QListEntry *entry;
    bool found = false;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(resp, "return"), entry) {
        QDict *machine = qobject_to(QDict, qlist_entry_obj(entry));
        const char *name = qdict_get_str(machine, "name");

        if (g_strcmp0(qdict_get_try_str(machine, "alias"), "virt") == 0) {
            g_assert_true(qdict_get_bool(machine, "hotpluggable-cpus"));
            found = true;
        } else if (g_str_has_prefix(name, "virt-")) {
            g_assert_false(qdict_get_bool(machine, "hotpluggable-cpus"));
        }
    }
    g_assert_true(found);
    qobject_unref(resp);
    qtest_quit(qts);
}

/*
 * A machine that cannot have CPU hotplug lists its slots all the same: clients
 * have learnt from query-machines that they may ask, and libvirt does not start
 * a domain that refuses to answer. The guest has none of it.
 */
static void test_not_possible(void)
{
    QTestState *qts = qtest_init("-machine virt,gic-version=2 -nodefaults "
                                 "-cpu cortex-a57 -smp 2,maxcpus=4");
    QDict *resp = qtest_qmp(qts, "{'execute': 'query-hotpluggable-cpus'}");

    g_assert_cmpuint(qlist_size(qdict_get_qlist(resp, "return")), ==, 4);
    qobject_unref(resp);
    assert_device_add_refused(qts, "{'driver':'" CPU_TYPE "','core-id':2}",
                              "CPU hotplug is not available on this machine: "
                              "*");
    g_assert_cmphex(flags_read(qts, 0), ==, 0);
    qtest_quit(qts);
}

/*
 * Versions that are released do not change by themselves: no registers, no
 * tables, and a GICv2 for few CPUs, whatever maxcpus.
 */
static void test_released(void)
{
    const char *args = "-nodefaults -cpu cortex-a57 " EMPTY_FIRMWARE " "
                       "-smp 2,maxcpus=4,sockets=4,cores=1";
    QTestState *qts = qtest_initf("-machine virt-11.1 %s", args);
    uint32_t length;
    g_autofree uint8_t *madt = acpi_table(qts, "APIC", &length);
    QDict *resp = qtest_qmp(qts, "{'execute': 'qom-get', 'arguments': "
                            "{'path': '/machine', 'property': 'gic-version'}}");

    g_assert_cmpstr(qdict_get_str(resp, "return"), ==, "2");
    qobject_unref(resp);
    g_assert_cmpuint(madt[8], <, 6);
    assert_error(qtest_qmp(qts, "{'execute': 'query-hotpluggable-cpus'}"),
                 "machine does not support hot-plugging CPUs");
    assert_device_add_refused(qts, "{'driver':'" CPU_TYPE "'," SLOT_2 "}",
                              "CPU hotplug is not available on this machine: "
                              "it is off, *by default for this machine "
                              "version; use 'cpu-hotplug=auto', and -smp with "
                              "maxcpus greater than cpus");
    g_assert_cmphex(flags_read(qts, 0), ==, 0);
    qtest_quit(qts);

    qts = qtest_initf("-machine virt-11.1,cpu-hotplug=on %s", args);
    qtest_qmp_assert_success(qts, "{'execute': 'query-hotpluggable-cpus'}");
    g_assert_cmphex(flags_read(qts, 0), ==, FLAG_ENABLED);
    qtest_quit(qts);
}

/*
 * Machines of which one has CPU hotplug and the other does not, or which do not
 * have the same CPUs
 */
typedef struct Mismatch {
    const char *name;
    const char *source, *target;    /* machine properties and more */
    const char *pattern;            /* of the error; NULL if there is none */
    bool late;                      /* it comes after RAM */
} Mismatch;

#define ON_WITH_CPU(n) "cpu-hotplug=on -device " CPU_TYPE ",core-id=" #n

#define RELEASED \
    "gic-version=3 -smp maxcpus=2 -machine virt-11.1,cpu-hotplug="

static const Mismatch mismatches[] = {
    {
        "switched-off", "cpu-hotplug=on", "cpu-hotplug=off",
        "*: The source has CPU hotplug, and this machine does not: it is off, "
        "by the machine property 'cpu-hotplug' or by default for this machine "
        "version; use 'cpu-hotplug=auto'*"
    }, {
        "not-possible", "cpu-hotplug=on", "cpu-hotplug=auto,gic-version=2",
        "*: The source has CPU hotplug, and this machine does not: it needs a "
        "GICv3 or GICv4, not a GICv2; use 'gic-version=3'*"
    }, {
        "same", "cpu-hotplug=auto", "cpu-hotplug=on"
    }, {
        "none", "cpu-hotplug=off", "cpu-hotplug=auto,gic-version=2"
    }, {
        "other-slot", ON_WITH_CPU(2), ON_WITH_CPU(3),
        "*: Only the source has a CPU with socket-id=0,cluster-id=0,core-id=2,"
        "thread-id=0; start this machine with the CPUs that the source has, "
        "using -smp and -device"
    }, {
        "surplus", "cpu-hotplug=on", ON_WITH_CPU(3),
        "*: Only the destination has a CPU with socket-id=0,cluster-id=0,"
        "core-id=3,thread-id=0; *"
    }, {
        "same-slot", ON_WITH_CPU(3), ON_WITH_CPU(3)
    }, {
        "maxcpus", "cpu-hotplug=on", "cpu-hotplug=on -smp maxcpus=5",
        "*: The source has maxcpus=4, this machine maxcpus=5; start it with "
        "the -smp of the source"
    }, {
        /* Its stream says nothing without CPU hotplug. */
        "released", RELEASED "off", RELEASED "on",
        "*: This machine has CPU hotplug, and the source does not; *", true
    },

    /* What the default does; only a stream of it always says it. */
    {
        "default", "gic-version=3", "gic-version=3,cpu-hotplug=on"
    }, {
        "only-target", "gic-version=3,cpu-hotplug=off", "gic-version=3",
        "*: This machine has CPU hotplug, and the source does not; start this "
        "machine with 'cpu-hotplug=off'*"
    }, {
        "only-target-possible", "gic-version=2", "gic-version=3",
        "*: This machine has CPU hotplug, and the source does not; *"
    }, {
        "only-source", "gic-version=3", "gic-version=2",
        "*: The source has CPU hotplug, and this machine does not: it needs a "
        "GICv3 or GICv4, *"
    },
};

/* Wait for the end of a migration. Returns: NULL, or why it failed */
static char *migration_wait(QTestState *qts)
{
    char *error = NULL;
    bool ended = false;

    while (!ended) {
        QDict *info = qtest_qmp_assert_success_ref(
            qts, "{'execute': 'query-migrate'}");
        const char *status = qdict_get_try_str(info, "status");

        if (!g_strcmp0(status, "failed")) {
            error = g_strdup(qdict_get_str(info, "error-desc"));
        }
        ended = error || !g_strcmp0(status, "completed");
        qobject_unref(info);
    }
    return error;
}

/* The destination looks at nothing else, not even at RAM, before it says so. */
#define SETUP_SIZE (8 * KiB)

/* Migrate to a file, and end QEMU. Returns: the path of the file */
static char *migration_save(QTestState *qts)
{
    g_autofree char *uri = NULL;
    char *path;
    int fd = g_file_open_tmp("arm-cpu-hotplug-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    uri = g_strdup_printf("file:%s", path);
    qtest_qmp_assert_success(qts, "{'execute': 'migrate', 'arguments': "
                             "{'uri': %s}}", uri);
    g_assert_null(migration_wait(qts));
    qtest_quit(qts);
    return path;
}

/*
 * Load @path, or its first @size bytes if that is not 0.
 *
 * Returns: NULL, or why that failed
 */
static char *migration_load(QTestState *qts, const char *path, off_t size)
{
    g_autofree char *uri = g_strdup_printf("file:%s", path);

    if (size) {
        g_assert_cmpint(truncate(path, size), ==, 0);
    }
    qtest_qmp_assert_success(qts, "{'execute': 'migrate-incoming', "
                             "'arguments': {'uri': %s, "
                             "'exit-on-error': false}}", uri);
    return migration_wait(qts);
}

static void test_migration(const void *data)
{
    const Mismatch *m = data;
    const char *args = "-nodefaults -cpu cortex-a57 " EMPTY_FIRMWARE " "
                       "-smp 2,maxcpus=4";
    g_autofree char *path = NULL, *error = NULL;
    QTestState *source = qtest_initf("%s -machine virt,%s", args, m->source);
    QTestState *target = qtest_initf("%s -incoming defer -machine virt,%s",
                                     args, m->target);

    path = migration_save(source);
    error = migration_load(target, path,
                           m->pattern && !m->late ? SETUP_SIZE : 0);
    unlink(path);
    if (m->pattern && (!error || !g_pattern_match_simple(m->pattern, error))) {
        g_error("QEMU says \"%s\", which does not match \"%s\"",
                error ?: "nothing", m->pattern);
    }
    g_assert_true(m->pattern || !error);
    qtest_quit(target);
}

/* A guest that was loaded is asked to eject a CPU, even if it does not run. */
static void test_unplug_after_load(void)
{
    const Topology *t = &small;
    g_autofree char *cpu = cpu_device_args(t, 2, "a");
    g_autofree char *args = g_strdup_printf("-S -incoming defer %s", cpu);
    g_autofree char *path = migration_save(machine_start(t, cpu));
    g_autofree char *error = NULL;
    QTestState *qts = machine_start(t, args);

    g_assert_null(migration_load(qts, path, 0));
    qtest_qmp_device_del_send(qts, "a");
    assert_no_event(qts, "DEVICE_DELETED");
    control_write(qts, 2, CTRL_EJECT);
    wait_device_event(qts, "DEVICE_DELETED", "a");
    qtest_quit(qts);

    /* The CPUs of both ends have been compared when the rest is missing. */
    qts = machine_start(t, args);
    error = migration_load(qts, path, SETUP_SIZE);
    g_assert_nonnull(error);
    assert_device_add_refused(qts, "{'driver': '" CPU_TYPE "', 'socket-id': 1,"
                              " 'core-id': 1}", "CPUs cannot be added or "
                              "removed while the state of the guest is being "
                              "loaded; wait until the migration has ended");
    unlink(path);
    qtest_quit(qts);
}

/*
 * Check what query-hotpluggable-cpus says about the state of slot @index of the
 * topology small; NULL if it should not say it.
 */
static void slot_state_check(QTestState *qts, int64_t index, const char *state,
                             const char *power_state)
{
    QDict *resp = qtest_qmp(qts, "{'execute': 'query-hotpluggable-cpus'}");
    QListEntry *entry;
    bool found = false;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(resp, "return"), entry) {
        QDict *slot = qobject_to(QDict, qlist_entry_obj(entry));
        QDict *props = qdict_get_qdict(slot, "props");

        if (qdict_get_int(props, "socket-id") * small.cores +
            qdict_get_int(props, "core-id") != index) {
            continue;
        }
        found = true;
        g_assert_cmpstr(qdict_get_try_str(slot, "state"), ==, state);
        g_assert_cmpstr(qdict_get_try_str(slot, "power-state"), ==,
                        power_state);
    }
    g_assert_true(found);
    qobject_unref(resp);
}

/* A slot is empty, plugged, asked for and refused, asked for, empty. */
static void test_slot_state(void)
{
    const Topology *t = &small;
    QTestState *qts = machine_start(t, NULL);
    g_autofree char *hmp = NULL;

    slot_state_check(qts, 0, "plugged", "on");
    slot_state_check(qts, 1, "plugged", "off");
    slot_state_check(qts, 2, "empty", NULL);

    cpu_plug(qts, t, 2, "a");
    slot_state_check(qts, 2, "plugged", "off");
    control_write(qts, 2, CTRL_CLEAR_INSERT);
    ost_write(qts, 2, 1 /* device check */, 0);
    slot_state_check(qts, 2, "plugged", "off");

    qtest_qmp_device_del_send(qts, "a");
    slot_state_check(qts, 2, "unplug-pending", "off");
    hmp = qtest_hmp(qts, "info hotpluggable-cpus");
    g_assert_nonnull(strstr(hmp, "  state: \"unplug-pending\"\r\n"
                            "  power_state: \"off\"\r\n"));
    control_write(qts, 2, CTRL_CLEAR_REMOVE);
    slot_state_check(qts, 2, "unplug-pending", "off");
    ost_write(qts, 2, 3 /* eject request */, 1 /* failure */);
    slot_state_check(qts, 2, "plugged", "off");

    cpu_unplug(qts, 2, "a");
    slot_state_check(qts, 2, "empty", NULL);

    /* A reset completes what the guest was asked for. */
    cpu_plug(qts, t, 3, "b");
    qtest_qmp_device_del_send(qts, "b");
    slot_state_check(qts, 3, "unplug-pending", "off");
    qtest_system_reset(qts);
    slot_state_check(qts, 3, "empty", NULL);
    qtest_quit(qts);

    qts = qtest_init("-machine virt,gic-version=2,cpu-hotplug=auto -nodefaults "
                     "-cpu cortex-a57 -smp 2,maxcpus=4,sockets=2,cores=2");
    slot_state_check(qts, 1, "plugged", "off");
    slot_state_check(qts, 2, "empty", NULL);
    qtest_quit(qts);
}

/* During a migration an ejected CPU stays, and nobody runs it. */
static void test_slot_state_ejected(void)
{
    const Topology *t = &small;
    QTestState *qts = machine_start(t, NULL);
    g_autofree char *path = NULL, *uri = NULL;
    int fd = g_file_open_tmp("arm-cpu-hotplug-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    uri = g_strdup_printf("file:%s", path);
    cpu_plug(qts, t, 2, "a");

    qtest_qmp_assert_success(qts, "{'execute': 'migrate-set-parameters', "
                             "'arguments': {'max-bandwidth': 10}}");
    qtest_qmp_assert_success(qts, "{'execute': 'migrate', 'arguments': "
                             "{'uri': %s}}", uri);
    /* Unasked: device_del is not possible now. */
    control_write(qts, 2, CTRL_EJECT);
    slot_state_check(qts, 2, "ejected", NULL);
    qtest_qmp_assert_success(qts, "{'execute': 'migrate_cancel'}");
    wait_device_event(qts, "DEVICE_DELETED", "a");
    slot_state_check(qts, 2, "empty", NULL);
    unlink(path);
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    if (!qtest_has_machine("virt") || !qtest_has_device("arm-gicv3")) {
        return g_test_run();
    }

    qtest_add_func("/arm-cpu-hotplug/query-machines", test_query_machines);
    qtest_add_func("/arm-cpu-hotplug/not-possible", test_not_possible);
    if (qtest_has_machine("virt-11.1")) {
        qtest_add_func("/arm-cpu-hotplug/released", test_released);
        qtest_add_data_func("/arm-cpu-hotplug/preconfig/released", "virt-11.1",
                            test_preconfig);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(topologies); i++) {
        g_autofree char *path = g_strdup_printf("/arm-cpu-hotplug/slots/%s",
                                                topologies[i].name);

        qtest_add_data_func(path, &topologies[i], test_slots);
    }
    qtest_add_func("/arm-cpu-hotplug/slot-state", test_slot_state);
    qtest_add_func("/arm-cpu-hotplug/slot-state/ejected",
                   test_slot_state_ejected);
    qtest_add_func("/arm-cpu-hotplug/cycles", test_cycles);
    qtest_add_func("/arm-cpu-hotplug/ged-event", test_ged_event);
    qtest_add_func("/arm-cpu-hotplug/cold-plugged", test_cold_plugged);
    qtest_add_func("/arm-cpu-hotplug/smp-cpu", test_smp_cpu);
    qtest_add_func("/arm-cpu-hotplug/plug-before-start",
                   test_plug_before_start);
    qtest_add_func("/arm-cpu-hotplug/unplug-before-start",
                   test_unplug_before_start);
    qtest_add_func("/arm-cpu-hotplug/loader", test_loader);
    qtest_add_func("/arm-cpu-hotplug/reset-with-event", test_reset_with_event);
    qtest_add_func("/arm-cpu-hotplug/ost", test_ost);
    qtest_add_func("/arm-cpu-hotplug/answer/missing", test_answer_missing);
    qtest_add_func("/arm-cpu-hotplug/answer/twice", test_answer_twice);
    qtest_add_func("/arm-cpu-hotplug/answer/for-other", test_answer_for_other);
    qtest_add_func("/arm-cpu-hotplug/answer/unasked", test_answer_unasked);
    qtest_add_func("/arm-cpu-hotplug/refused/plug", test_plug_refused);
    qtest_add_func("/arm-cpu-hotplug/refused/unplug", test_unplug_refused);
    if (qtest_has_accel("tcg")) {
        qtest_add_func("/arm-cpu-hotplug/refused/vector-lengths",
                       test_vector_lengths);
    }
    qtest_add_func("/arm-cpu-hotplug/optional-ids", test_optional_ids);
    qtest_add_data_func("/arm-cpu-hotplug/preconfig/newest", "virt",
                        test_preconfig);
    qtest_add_func("/arm-cpu-hotplug/unplug-twice", test_unplug_twice);
    for (unsigned i = 0; i < ARRAY_SIZE(blockers); i++) {
        g_autofree char *blocked = g_strdup_printf(
            "/arm-cpu-hotplug/blocked/%s", blockers[i].name);
        g_autofree char *required = g_strdup_printf(
            "/arm-cpu-hotplug/required/%s", blockers[i].name);

        if (blockers[i].tcg && !qtest_has_accel("tcg")) {
            continue;
        }
        qtest_add_data_func(blocked, &blockers[i], test_blocked);
        if (!blockers[i].not_an_error) {
            qtest_add_data_func(required, &blockers[i], test_required);
        }
    }
    qtest_add_func("/arm-cpu-hotplug/gic-refused", test_gic_refused);
    qtest_add_func("/arm-cpu-hotplug/registers/abuse", test_abuse);
    qtest_add_func("/arm-cpu-hotplug/registers/every-access",
                   test_every_access);
    qtest_add_func("/arm-cpu-hotplug/registers/eject-unasked",
                   test_eject_unasked);
    qtest_add_func("/arm-cpu-hotplug/registers/random", test_random);
    for (unsigned i = 0; i < ARRAY_SIZE(topologies); i++) {
        g_autofree char *redistributors = g_strdup_printf(
            "/arm-cpu-hotplug/redistributors/%s", topologies[i].name);
        g_autofree char *interrupts = g_strdup_printf(
            "/arm-cpu-hotplug/interrupts/%s", topologies[i].name);

        qtest_add_data_func(redistributors, &topologies[i],
                            test_redistributors);
        qtest_add_data_func(interrupts, &topologies[i], test_interrupts);
    }
    qtest_add_func("/arm-cpu-hotplug/interrupts/lpi", test_lpi);
    for (unsigned i = 0; i < ARRAY_SIZE(mismatches); i++) {
        g_autofree char *path = g_strdup_printf(
            "/arm-cpu-hotplug/migration/%s", mismatches[i].name);

        qtest_add_data_func(path, &mismatches[i], test_migration);
    }
    qtest_add_func("/arm-cpu-hotplug/unplug-after-load",
                   test_unplug_after_load);
    qtest_add_func("/arm-cpu-hotplug/many-events", test_many_events);

    return g_test_run();
}
