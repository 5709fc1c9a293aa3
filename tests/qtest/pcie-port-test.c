/*
 * QTest of PCI Express ports: their slot numbers, devices that are plugged, and
 * ports without hotplug
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "libqtest.h"
#include "hw/pci/pci.h"
#include "hw/pci/pci_regs.h"

typedef struct Machine {
    const char *name;
    const char *args;
    const char *acpi, *native;      /* for either kind of PCI hotplug */
    uint64_t ecam;
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
        .args = "-nodefaults -cpu cortex-a57 -machine virt -bios /dev/null",
        .acpi = "-global acpi-ged.acpi-pci-hotplug-with-bridge-support=on",
        .native = "-global acpi-ged.acpi-pci-hotplug-with-bridge-support=off",
        .ecam = 0x4010000000ull,
    }, {
        .name = "q35",
        .args = "-nodefaults -machine q35",
        .acpi = "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=on",
        .native = "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
        .ecam = Q35_ECAM,
        .prepare = q35_prepare,
    },
};

static QTestState *machine_start(const Machine *m, const char *more)
{
    QTestState *qts = qtest_initf("%s %s", m->args, more);

    if (m->prepare) {
        m->prepare(qts);
    }
    return qts;
}

/* --- Slots of a chassis --- */

/* A machine with @more does not start, and says @reason. */
static void assert_start_fails(const Machine *m, const char *more,
                               const char *reason)
{
    g_autofree char *command = g_strdup_printf(
        "%s %s %s -accel qtest -display none", qtest_qemu_binary(NULL),
        m->args, more);
    g_autofree char *errors = NULL;
    int status;

    g_assert_true(g_spawn_command_line_sync(command, NULL, &errors, &status,
                                            NULL));
    g_assert_cmpint(status, !=, 0);
    if (!strstr(errors, reason)) {
        g_error("QEMU says \"%s\" and not \"%s\"", errors, reason);
    }
}

#define PORT(id, numbers) " -device pcie-root-port,id=" id "," numbers

static void test_slots(const void *data)
{
    const Machine *m = data;

    /* They differ in the upper 8 bits only. */
    qtest_quit(machine_start(m, PORT("a", "chassis=1,slot=1")
                             PORT("b", "chassis=1,slot=257")
                             PORT("c", "chassis=2,slot=1")));

    assert_start_fails(m, PORT("a", "addr=4") PORT("b", "addr=5"),
                       "Slot 0 of chassis 0 is taken by the port 'a': each "
                       "port needs a 'chassis' or 'slot' of its own");
    assert_start_fails(m, PORT("a", "chassis=3,slot=257")
                       PORT("b", "chassis=3,slot=257"),
                       "Slot 257 of chassis 3 is taken by the port 'a': ");
}

/* --- Devices without address --- */

/* They get a free slot, whatever there is in the last one. */
static void test_last_slot(const void *data)
{
    const Machine *m = data;
    g_autofree char *more = g_strconcat(
        m->acpi, " -device pci-bridge,id=bridge,chassis_nr=1,shpc=off"
        " -device pci-testdev,bus=bridge,addr=1f.0", NULL);
    QTestState *qts = machine_start(m, more);
    QDict *response;

    qtest_qmp_device_add(qts, "pci-testdev", "plugged", "{'bus': 'bridge'}");
    /* A slot whose function 0 is there is still refused. */
    response = qtest_qmp_assert_failure_ref(
        qts, "{'execute': 'device_add', 'arguments': {'driver': 'pci-testdev',"
        " 'id': 'refused', 'bus': 'bridge', 'addr': '1f.1'}}");
    qobject_unref(response);
    qtest_quit(qts);
}

/* --- Ports without hotplug --- */

static void assert_refused(QTestState *qts, const char *command,
                           const char *arguments)
{
    QDict *error = qtest_qmp_assert_failure_ref(
        qts, "{'execute': %s, 'arguments': %p}", command,
        qobject_from_json(arguments, &error_abort));

    g_assert_nonnull(strstr(qdict_get_str(error, "desc"),
                            "does not support hotplugging"));
    qobject_unref(error);
}

static void test_off(const void *data)
{
    const Machine *m = data;
    g_autofree char *more = g_strconcat(
        m->native, PORT("a", "chassis=1,hotplug=off")
        PORT("b", "chassis=2,hotplug=off")
        " -device pci-testdev,id=fixed,bus=b", NULL);
    QTestState *qts = machine_start(m, more);

    assert_refused(qts, "device_add",
                   "{'driver': 'pci-testdev', 'id': 'new', 'bus': 'a'}");
    assert_refused(qts, "device_del", "{'id': 'fixed'}");
    qtest_quit(qts);
}

/* --- Interrupts --- */

#define PORT_SLOT       8

/* PCI Express Base Specification 6.0, 7.5.3.10 Slot Control Register */
#define EVENTS          (PCI_EXP_SLTCTL_PDCE | PCI_EXP_SLTCTL_HPIE)

static unsigned find_capability(QTestState *qts, uint64_t config, uint8_t id)
{
    unsigned offset = qtest_readb(qts, config + PCI_CAPABILITY_LIST);

    while (offset && qtest_readb(qts, config + offset) != id) {
        offset = qtest_readb(qts, config + offset + PCI_CAP_LIST_NEXT);
    }
    g_assert_cmphex(offset, !=, 0);
    return offset;
}

static bool intx_is_asserted(QTestState *qts, uint64_t config)
{
    return qtest_readw(qts, config + PCI_STATUS) & PCI_STATUS_INTERRUPT;
}

/*
 * A port whose guest uses no MSI keeps INTx asserted from a hotplug event until
 * the guest has acknowledged it, whatever it writes to other registers.
 */
static void test_intx(const void *data)
{
    const Machine *m = data;
    const uint64_t config = m->ecam + (PCI_DEVFN(PORT_SLOT, 0) << 12);
    g_autofree char *more = g_strconcat(m->native,
                                        PORT("a", "chassis=1,addr=8"), NULL);
    QTestState *qts = machine_start(m, more);
    unsigned cap = find_capability(qts, config, PCI_CAP_ID_EXP);

    qtest_writew(qts, config + PCI_COMMAND, PCI_COMMAND_MASTER);
    qtest_writew(qts, config + cap + PCI_EXP_SLTCTL, EVENTS |
                 (qtest_readw(qts, config + cap + PCI_EXP_SLTCTL) &
                  (PCI_EXP_SLTCTL_PIC | PCI_EXP_SLTCTL_AIC)));
    g_assert_false(intx_is_asserted(qts, config));

    qtest_qmp_device_add(qts, "pci-testdev", "plugged", "{'bus': 'a'}");
    g_assert_true(intx_is_asserted(qts, config));
    qtest_writeb(qts, config + PCI_CACHE_LINE_SIZE, 16);
    g_assert_true(intx_is_asserted(qts, config));

    qtest_writew(qts, config + cap + PCI_EXP_SLTSTA,
                 qtest_readw(qts, config + cap + PCI_EXP_SLTSTA));
    g_assert_false(intx_is_asserted(qts, config));
    qtest_quit(qts);
}

static void add_test(const Machine *m, const char *name,
                     void (*test)(const void *))
{
    g_autofree char *path = g_strdup_printf("/pcie-port/%s/%s", m->name, name);

    qtest_add_data_func(path, m, test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    if (!qtest_has_device("pcie-root-port") ||
        !qtest_has_device("pci-testdev")) {
        return g_test_run();
    }
    for (unsigned i = 0; i < ARRAY_SIZE(machines); i++) {
        const Machine *m = &machines[i];

        if (!qtest_has_machine(m->name)) {
            continue;
        }
        add_test(m, "slots", test_slots);
        add_test(m, "intx", test_intx);
        add_test(m, "off", test_off);
        if (qtest_has_device("pci-bridge")) {
            add_test(m, "last-slot", test_last_slot);
        }
    }
    return g_test_run();
}
