/*
 * QTest of CPUs that a guest ejects: what it relies on, and when they go
 *
 * Accesses to the registers are those that the AML and firmware make; see
 * docs/specs/acpi_cpu_hotplug.rst.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/sockets.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqtest.h"

#define FLAG_ENABLED        (1 << 0)
#define FLAG_FW_REMOVE      (1 << 4)

#define CTRL_CLEAR_REMOVE   (1 << 2)
#define CTRL_EJECT          (1 << 3)
#define CTRL_FW_REMOVE      (1 << 4)

#define NUM_CPUS            3
#define EJECTED             1

typedef struct Machine {
    const char *arch;
    const char *args;
    /* Commands of the qtest protocol */
    const char *init;           /* before the registers are used */
    const char *select;         /* the CPU EJECTED */
    const char *control;        /* the control register, to be appended to */
    const char *flags;          /* read of the flags */
    const char *reset;          /* the guest resets the machine, or NULL */
    const char *shutdown;       /* the guest shuts down, or NULL */
    const char *refuse;         /* the guest does not eject the CPU, or NULL */
} Machine;

static const Machine machines[] = {
    {
        .arch = "x86_64",
        .args = "-machine q35 -nodefaults",
        /* PM base 0x600, ACPI enabled */
        .init = "outl 0xcf8 0x8000f840\noutl 0xcfc 0x601\n"
                "outl 0xcf8 0x8000f844\noutb 0xcfc 0x80\n",
        .select = "outl 0xcd8 0x1\n",
        .control = "outb 0xcdc ",
        .flags = "inb 0xcdc\n",
        .reset = "outb 0xcf9 0x6\n",
        .shutdown = "outw 0x604 0x2000\n",
    }, {
        .arch = "loongarch64",
        .args = "-machine virt -nodefaults",
        .init = "",
        .select = "writel 0x100e0020 0x1\n",
        .control = "writeb 0x100e0024 ",
        .flags = "readb 0x100e0024\n",
        .reset = "writeb 0x100e001e 0x42\n",
        .shutdown = "writeb 0x100e001c 0x34\n",
    }, {
        .arch = "aarch64",
        .args = "-machine virt,cpu-hotplug=on -cpu cortex-a57 -nodefaults",
        .init = "",
        .select = "writel 0x90d0000 0x1\n",
        .control = "writeb 0x90d0004 ",
        .flags = "readb 0x90d0004\n",
        /* _OST of an eject request: failure */
        .refuse = "writel 0x90d0000 0x1\n"
                  "writeb 0x90d0005 0x1\nwritel 0x90d0008 0x3\n"
                  "writeb 0x90d0005 0x2\nwritel 0x90d0008 0x1\n",
    },
};

static const Machine *machine;
static char *machine_args;

static QTestState *machine_start(const char *more)
{
    QTestState *qts = qtest_initf("%s -smp %d -m 128M %s", machine_args,
                                  NUM_CPUS, more);

    g_strfreev(qtest_sequence(qts, machine->init));
    return qts;
}

/* Ejects the CPU, and @more in the same go. Returns the flags after that. */
static unsigned eject(QTestState *qts, const char *more)
{
    g_autofree char *commands = g_strdup_printf("%s%s0x%x\n%s%s",
                                                machine->select,
                                                machine->control, CTRL_EJECT,
                                                machine->flags, more);
    g_auto(GStrv) results = qtest_sequence(qts, commands);

    return g_ascii_strtoull(results[2], NULL, 16);
}

static unsigned flags_read(QTestState *qts)
{
    g_autofree char *commands = g_strdup_printf("%s%s", machine->select,
                                                machine->flags);
    g_auto(GStrv) results = qtest_sequence(qts, commands);

    return g_ascii_strtoull(results[1], NULL, 16);
}

static size_t count_cpus(QTestState *qts)
{
    QDict *response = qtest_qmp(qts, "{'execute': 'query-cpus-fast'}");
    size_t count = qlist_size(qdict_get_qlist(response, "return"));

    qobject_unref(response);
    return count;
}

/*
 * Waits for the event of a CPU: parts of it may have some of their own. Drops
 * all other events.
 */
static void wait_removed(QTestState *qts)
{
    bool found = false;

    while (!found) {
        QDict *event = qtest_qmp_eventwait_ref(qts, "DEVICE_DELETED");
        const char *path = qdict_get_str(qdict_get_qdict(event, "data"),
                                         "path");

        found = !strstr(path, "/lapic");
        qobject_unref(event);
    }
}

/* The CPU is removed and, if @then is not NULL, that event comes after that. */
static void assert_removed(QTestState *qts, const char *then)
{
    wait_removed(qts);
    if (then) {
        qtest_qmp_eventwait(qts, then);
        g_strfreev(qtest_sequence(qts, machine->init));
    }
    g_assert_cmpuint(count_cpus(qts), ==, NUM_CPUS - 1);
    g_assert_null(qtest_qmp_event_ref(qts, "DEVICE_DELETED"));
    g_assert_cmphex(flags_read(qts), ==, 0);
}

static void assert_not_removed(QTestState *qts)
{
    g_assert_cmpuint(count_cpus(qts), ==, NUM_CPUS);
    g_assert_null(qtest_qmp_event_ref(qts, "DEVICE_DELETED"));
}

/*
 * What OVMF does when the operating system has handed the eject over to it: it
 * reads the flags back, and takes a CPU that is neither there nor free for a
 * fatal error.
 */
static void test_firmware(void)
{
    QTestState *qts = machine_start("");
    g_autofree char *commands =
        g_strdup_printf("%s%s0x%x\n%s%s0x%x\n%s%s0x%x\n%s",
                        machine->select, machine->control, CTRL_FW_REMOVE,
                        machine->flags, machine->control, CTRL_EJECT,
                        machine->flags, machine->control, CTRL_FW_REMOVE,
                        machine->flags);
    g_auto(GStrv) results = qtest_sequence(qts, commands);

    g_assert_cmphex(g_ascii_strtoull(results[2], NULL, 16), ==,
                    FLAG_ENABLED | FLAG_FW_REMOVE);
    g_assert_cmphex(g_ascii_strtoull(results[4], NULL, 16), ==, 0);
    /* Nothing can be asked of a CPU that is not there. */
    g_assert_cmphex(g_ascii_strtoull(results[6], NULL, 16), ==, 0);
    assert_removed(qts, NULL);
    qtest_quit(qts);
}

/* The machine stops before the main loop gets to remove the CPU. */
static void test_stop(void)
{
    QTestState *qts = machine_start("-action shutdown=pause");

    g_assert_cmphex(eject(qts, machine->shutdown), ==, 0);
    assert_removed(qts, "STOP");
    qtest_quit(qts);
}

static void test_reset(void)
{
    QTestState *qts = machine_start("");

    g_assert_cmphex(eject(qts, machine->reset), ==, 0);
    assert_removed(qts, "RESET");
    qtest_quit(qts);
}

/*
 * The reset of a disk waits for what it is doing. The CPU must not go in
 * that time, in which the devices are being walked.
 */
static void test_reset_io(void)
{
    QTestState *qts = machine_start(
        "-blockdev driver=null-aio,node-name=disk,size=1048576,read-zeroes=on,"
        "latency-ns=100000000 "
        "-device isa-ide,id=disks -device ide-hd,bus=disks.0,drive=disk");
    g_autofree char *more = g_strdup_printf("outb 0x1f6 0xe0\n"
                                            "outb 0x1f7 0xe7\n"
                                            "%s", machine->reset);

    g_assert_cmphex(eject(qts, more), ==, 0);
    assert_removed(qts, "RESET");
    qtest_quit(qts);
}

/* --- Migration --- */

typedef struct Ends {
    QTestState *from, *to;
    char *folder, *socket;
} Ends;

static void migrate_set_bandwidth(QTestState *qts, int64_t bandwidth)
{
    qtest_qmp_assert_success(qts, "{'execute': 'migrate-set-parameters',"
                             " 'arguments': {'max-bandwidth': %" PRId64 "}}",
                             bandwidth);
}

static char *migrate_status(QTestState *qts)
{
    QDict *info = qtest_qmp_assert_success_ref(qts,
                                               "{'execute': 'query-migrate'}");
    char *status = g_strdup(qdict_get_try_str(info, "status"));

    qobject_unref(info);
    return status;
}

static void migrate_wait(QTestState *qts, const char *wanted)
{
    for (;;) {
        g_autofree char *status = migrate_status(qts);

        if (!g_strcmp0(status, wanted)) {
            return;
        }
        g_assert_cmpstr(status, !=, "failed");
        g_usleep(1000);
    }
}

static void ends_init(Ends *ends)
{
    ends->from = machine_start("");
    ends->folder = g_dir_make_tmp("cpu-eject-XXXXXX", NULL);
    ends->socket = g_strdup_printf("%s/migration", ends->folder);
}

/* Start a migration that does not end by itself, with default capabilities */
static void migrate_start(Ends *ends)
{
    g_autofree char *incoming = g_strdup_printf("-incoming unix:%s",
                                                ends->socket);

    ends->to = qtest_initf("%s -smp %d -m 128M %s", machine_args, NUM_CPUS,
                           incoming);
    /* One byte each tenth of a second; with less there is no limit. */
    migrate_set_bandwidth(ends->from, 10);
    qtest_qmp_assert_success(ends->from, "{'execute': 'migrate',"
                             " 'arguments': {'uri': %s}}", incoming + 10);
    migrate_wait(ends->from, "active");
}

static void migrate_finish(Ends *ends)
{
    migrate_set_bandwidth(ends->from, INT64_C(1) << 40);
    migrate_wait(ends->from, "completed");
}

/* The CPU is removed at the source then, where the guest goes on. */
static void migrate_cancel(Ends *ends)
{
    /* This is the end of the destination. */
    qtest_set_expected_status(ends->to, EXIT_FAILURE);
    qtest_qmp_assert_success(ends->from, "{'execute': 'migrate_cancel'}");
    assert_removed(ends->from, NULL);
    qtest_wait_qemu(ends->to);
}

static void ends_free(Ends *ends)
{
    qtest_quit(ends->to);
    qtest_quit(ends->from);
    unlink(ends->socket);
    rmdir(ends->folder);
    g_free(ends->socket);
    g_free(ends->folder);
}

/* The destination has the CPU, and it is there that it goes. */
static void test_migrate(void)
{
    Ends ends;

    ends_init(&ends);
    migrate_start(&ends);
    g_assert_cmphex(eject(ends.from, ""), ==, 0);
    assert_not_removed(ends.from);
    migrate_finish(&ends);
    assert_not_removed(ends.from);
    assert_removed(ends.to, "RESUME");
    ends_free(&ends);
}

static void test_migrate_cancel(void)
{
    Ends ends;

    ends_init(&ends);
    migrate_start(&ends);
    g_assert_cmphex(eject(ends.from, ""), ==, 0);
    assert_not_removed(ends.from);
    migrate_cancel(&ends);
    ends_free(&ends);
}

#ifndef _WIN32
/* A migration that fails before it is connected sends no event. */
static void test_migrate_connect(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_autofree char *uri = NULL;
    int listener, waiting, ret;
    Ends ends;

    ends_init(&ends);
    g_strlcpy(address.sun_path, ends.socket, sizeof(address.sun_path));
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    ret = bind(listener, (struct sockaddr *)&address, sizeof(address));
    g_assert_cmpint(ret, ==, 0);
    g_assert_cmpint(listen(listener, 0), ==, 0);
    /* Nobody accepts this one, so that QEMU has to wait for its turn. */
    waiting = socket(AF_UNIX, SOCK_STREAM, 0);
    ret = connect(waiting, (struct sockaddr *)&address, sizeof(address));
    g_assert_cmpint(ret, ==, 0);

    uri = g_strdup_printf("unix:%s", ends.socket);
    qtest_qmp_assert_success(ends.from, "{'execute': 'migrate',"
                             " 'arguments': {'uri': %s}}", uri);
    migrate_wait(ends.from, "setup");
    g_assert_cmphex(eject(ends.from, ""), ==, 0);
    assert_not_removed(ends.from);
    close(listener);
    assert_removed(ends.from, NULL);

    close(waiting);
    qtest_quit(ends.from);
    unlink(ends.socket);
    rmdir(ends.folder);
    g_free(ends.socket);
    g_free(ends.folder);
}
#endif

/* The guest that has ejected the CPU is no more. The next one has it. */
static void test_migrate_reset(void)
{
    Ends ends;

    ends_init(&ends);
    migrate_start(&ends);
    g_assert_cmphex(eject(ends.from, machine->reset), ==, 0);
    qtest_qmp_eventwait(ends.from, "RESET");
    g_strfreev(qtest_sequence(ends.from, machine->init));
    g_assert_cmphex(flags_read(ends.from), ==, FLAG_ENABLED);
    assert_not_removed(ends.from);
    migrate_finish(&ends);
    qtest_qmp_eventwait(ends.to, "RESUME");
    g_assert_cmphex(flags_read(ends.to), ==, FLAG_ENABLED);
    assert_not_removed(ends.to);

    /* It is a CPU like any other. */
    g_assert_cmphex(eject(ends.to, ""), ==, 0);
    assert_removed(ends.to, NULL);
    ends_free(&ends);
}

/* The guest has heard of a request for the CPU, and has not answered yet. */
static void request_removal(QTestState *qts)
{
    g_autofree char *heard = g_strdup_printf("%s%s0x%x\n", machine->select,
                                             machine->control,
                                             CTRL_CLEAR_REMOVE);
    QDict *response = qtest_qmp(qts, "{'execute': 'query-cpus-fast'}");
    QDict *cpu;

    qobject_unref(qlist_pop(qdict_get_qlist(response, "return")));
    cpu = qobject_to(QDict, qlist_peek(qdict_get_qlist(response, "return")));
    g_assert_cmpint(qdict_get_int(cpu, "cpu-index"), ==, EJECTED);
    qtest_qmp_device_del_send(qts, qdict_get_str(cpu, "qom-path"));
    qobject_unref(response);
    g_strfreev(qtest_sequence(qts, heard));
}

static void reset_by_user(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{'execute': 'system_reset'}");
    qtest_qmp_eventwait(qts, "RESET");
}

/* The guest answers at the destination. */
static void test_migrate_request(void)
{
    Ends ends;

    ends_init(&ends);
    request_removal(ends.from);
    migrate_start(&ends);
    migrate_finish(&ends);
    qtest_qmp_eventwait(ends.to, "RESUME");
    g_strfreev(qtest_sequence(ends.to, machine->refuse));
    qtest_qmp_eventwait(ends.to, "DEVICE_UNPLUG_GUEST_ERROR");
    assert_not_removed(ends.to);
    ends_free(&ends);
}

/* The guest is no more, and cannot answer. */
static void test_migrate_request_then_reset(void)
{
    Ends ends;

    ends_init(&ends);
    request_removal(ends.from);
    migrate_start(&ends);
    migrate_finish(&ends);
    qtest_qmp_eventwait(ends.to, "RESUME");
    assert_not_removed(ends.to);
    qtest_qmp_assert_success(ends.to, "{'execute': 'system_reset'}");
    assert_removed(ends.to, "RESET");
    ends_free(&ends);
}

/*
 * The guest that was asked is no more before the migration ends. The next one
 * does not have the CPU, which is removed where that one goes on.
 */
static void test_migrate_reset_request(void)
{
    Ends ends;

    ends_init(&ends);
    request_removal(ends.from);
    migrate_start(&ends);
    reset_by_user(ends.from);
    g_assert_cmphex(flags_read(ends.from), ==, 0);
    assert_not_removed(ends.from);
    migrate_finish(&ends);
    assert_not_removed(ends.from);
    assert_removed(ends.to, "RESUME");
    ends_free(&ends);
}

static void test_migrate_reset_request_cancel(void)
{
    Ends ends;

    ends_init(&ends);
    request_removal(ends.from);
    migrate_start(&ends);
    reset_by_user(ends.from);
    migrate_cancel(&ends);
    ends_free(&ends);
}

/* --- CPUs that run --- */

/* Where the code that follows puts its results */
#define RESULT_STATE        0x1200
#define RESULT_FLAGS        0x1204

#define BIOS_SIZE           (64 * KiB)
#define BIOS_MODE           0xff
#define BIOS_OTHERS         0x1000

/*
 * Starts the other CPUs and waits until CPU 1 counts; ejects it and looks
 * whether it counts on:
 *
 *   xor  %eax, %eax; mov %ax, %ds
 *   mov  $0x1b, %ecx; rdmsr; or $0xc00, %eax; wrmsr    # x2APIC
 *   mov  $0x830, %ecx; xor %edx, %edx
 *   mov  $0xc4500, %eax; wrmsr                         # INIT
 *   mov  $100000, %ebx; 0: dec %ebx; jnz 0b
 *   mov  $0xc46f1, %eax; wrmsr                         # startup at 0xf1000
 *   1: cmpl $0, 0x1004; je 1b
 *   mov  $0xcd8, %dx; xor %eax, %eax; out %eax, %dx
 *   cmpb $0, %cs:0xff; jne 5f
 *   inc  %eax; out %eax, %dx                           # select CPU 1
 *   mov  $0xcdc, %dx; mov $8, %al; out %al, %dx        # eject it
 *   mov  0x1004, %esi; in %dx, %al; mov %al, 0x1204
 *   mov  $10000000, %ebx; 2: dec %ebx; jnz 2b
 *   mov  $1, %eax; cmp 0x1004, %esi; je 3f
 *   inc  %eax
 *   3: mov %eax, 0x1200
 *   4: cli; hlt; jmp 4b
 *   5: cmpl $0, 0x1008; je 5b
 *   movl $1, 0x1100                                    # eject each other
 *   jmp  4b
 */
static const uint8_t boot_cpu_code[] = {
    0x66, 0x31, 0xc0, 0x8e, 0xd8, 0x66, 0xb9, 0x1b, 0x00, 0x00, 0x00, 0x0f,
    0x32, 0x66, 0x0d, 0x00, 0x0c, 0x00, 0x00, 0x0f, 0x30, 0x66, 0xb9, 0x30,
    0x08, 0x00, 0x00, 0x66, 0x31, 0xd2, 0x66, 0xb8, 0x00, 0x45, 0x0c, 0x00,
    0x0f, 0x30, 0x66, 0xbb, 0xa0, 0x86, 0x01, 0x00, 0x66, 0x4b, 0x75, 0xfc,
    0x66, 0xb8, 0xf1, 0x46, 0x0c, 0x00, 0x0f, 0x30, 0x66, 0x83, 0x3e, 0x04,
    0x10, 0x00, 0x74, 0xf8, 0xba, 0xd8, 0x0c, 0x66, 0x31, 0xc0, 0x66, 0xef,
    0x2e, 0x80, 0x3e, 0xff, 0x00, 0x00, 0x75, 0x34, 0x66, 0x40, 0x66, 0xef,
    0xba, 0xdc, 0x0c, 0xb0, 0x08, 0xee, 0x66, 0x8b, 0x36, 0x04, 0x10, 0xec,
    0xa2, 0x04, 0x12, 0x66, 0xbb, 0x80, 0x96, 0x98, 0x00, 0x66, 0x4b, 0x75,
    0xfc, 0x66, 0xb8, 0x01, 0x00, 0x00, 0x00, 0x66, 0x3b, 0x36, 0x04, 0x10,
    0x74, 0x02, 0x66, 0x40, 0x66, 0xa3, 0x00, 0x12, 0xfa, 0xf4, 0xeb, 0xfc,
    0x66, 0x83, 0x3e, 0x08, 0x10, 0x00, 0x74, 0xf8, 0x66, 0xc7, 0x06, 0x00,
    0x11, 0x01, 0x00, 0x00, 0x00, 0xeb, 0xe9,
};

/*
 * Counts, until told to eject the other CPU of the two:
 *
 *   xor  %eax, %eax; mov %ax, %ds; inc %ax; cpuid; shr $24, %ebx
 *   mov  %bx, %di; shl $2, %di
 *   0: incl 0x1000(%di); cmpl $0, 0x1100; je 0b
 *   xor  $3, %bx; movzwl %bx, %eax
 *   1: mov $0xcd8, %dx; movzwl %bx, %eax; out %eax, %dx
 *   mov  $0xcdc, %dx; mov $8, %al; out %al, %dx
 *   jmp  1b
 */
static const uint8_t other_cpu_code[] = {
    0x66, 0x31, 0xc0, 0x8e, 0xd8, 0x40, 0x0f, 0xa2, 0x66, 0xc1, 0xeb, 0x18,
    0x89, 0xdf, 0xc1, 0xe7, 0x02, 0x66, 0xff, 0x85, 0x00, 0x10, 0x66, 0x83,
    0x3e, 0x00, 0x11, 0x00, 0x74, 0xf3, 0x83, 0xf3, 0x03, 0x66, 0x0f, 0xb7,
    0xc3, 0xba, 0xd8, 0x0c, 0x66, 0x0f, 0xb7, 0xc3, 0x66, 0xef, 0xba, 0xdc,
    0x0c, 0xb0, 0x08, 0xee, 0xeb, 0xef,
};

/* Nothing but this code runs, and that on q35 only: no firmware is needed. */
static char *create_bios(bool mutual)
{
    g_autofree uint8_t *code = g_malloc0(BIOS_SIZE);
    char *path;
    int fd = g_file_open_tmp("cpu-eject-XXXXXX", &path, NULL);

    g_assert(fd >= 0);
    memcpy(code, boot_cpu_code, sizeof(boot_cpu_code));
    code[BIOS_MODE] = mutual;
    memcpy(code + BIOS_OTHERS, other_cpu_code, sizeof(other_cpu_code));
    /* The reset vector: jmp to the start of this segment */
    code[0xfff0] = 0xe9;
    stw_le_p(code + 0xfff1, 0x10000 - 0xfff3);
    g_assert_cmpint(qemu_write_full(fd, code, BIOS_SIZE), ==, BIOS_SIZE);
    close(fd);
    return path;
}

static QTestState *run_code(const char *accel, bool mutual, char **path)
{
    *path = create_bios(mutual);
    return qtest_initf("-accel %s -cpu max -machine q35 -nodefaults -smp %d "
                       "-m 128M -bios %s", accel, NUM_CPUS, *path);
}

static void end_code(QTestState *qts, char *path)
{
    qtest_quit(qts);
    unlink(path);
    g_free(path);
}

/* Waits for a CPU to go. With TCG, an x86 CPU sends no event. */
static void wait_fewer_cpus(QTestState *qts)
{
    while (count_cpus(qts) == NUM_CPUS) {
        g_usleep(1000);
    }
}

/* A CPU that counts in a loop does not do so after the write that ejects it. */
static void test_running(const void *accel)
{
    char *path;
    QTestState *qts = run_code(accel, false, &path);
    uint32_t state;

    while (!(state = qtest_readl(qts, RESULT_STATE))) {
        g_usleep(1000);
    }
    g_assert_cmphex(qtest_readb(qts, RESULT_FLAGS), ==, 0);
    g_assert_cmpuint(state, ==, 1);
    wait_fewer_cpus(qts);
    end_code(qts, path);
}

/* Two CPUs eject each other or, if one selects in between, themselves. */
static void test_mutual(const void *accel)
{
    char *path;
    QTestState *qts = run_code(accel, true, &path);

    wait_fewer_cpus(qts);
    qtest_qmp_assert_success(qts, "{'execute': 'stop'}");
    qtest_qmp_assert_success(qts, "{'execute': 'cont'}");
    qtest_qmp_assert_success(qts, "{'execute': 'system_reset'}");
    qtest_qmp_eventwait(qts, "RESET");
    end_code(qts, path);
}

static bool accel_works(const char *accel)
{
    return qtest_has_accel(accel) &&
           (strcmp(accel, "kvm") || !access("/dev/kvm", R_OK | W_OK));
}

static void add_running(const char *accel, const char *options)
{
    g_autofree char *running = g_strdup_printf("/cpu-eject/running/%s",
                                               options);
    g_autofree char *mutual = g_strdup_printf("/cpu-eject/mutual/%s", options);

    if (!accel_works(accel)) {
        g_test_message("no %s tests, it is not usable here", accel);
        return;
    }
    qtest_add_data_func(running, options, test_running);
    qtest_add_data_func(mutual, options, test_mutual);
}

int main(int argc, char **argv)
{
    g_autofree char *bios = NULL;
    int result;

    g_test_init(&argc, &argv, NULL);

    for (unsigned i = 0; i < ARRAY_SIZE(machines); i++) {
        if (g_str_equal(machines[i].arch, qtest_get_arch())) {
            machine = &machines[i];
        }
    }
    g_assert(machine);
    bios = create_bios(false);
    machine_args = g_strdup_printf("%s -bios %s", machine->args, bios);

    qtest_add_func("/cpu-eject/firmware", test_firmware);
    if (machine->shutdown) {
        qtest_add_func("/cpu-eject/stop", test_stop);
    }
    if (machine->reset) {
        qtest_add_func("/cpu-eject/reset", test_reset);
        qtest_add_func("/cpu-eject/migrate/reset", test_migrate_reset);
    }
    if (machine->refuse) {
        qtest_add_func("/cpu-eject/migrate/request", test_migrate_request);
        qtest_add_func("/cpu-eject/migrate/request-then-reset",
                       test_migrate_request_then_reset);
        qtest_add_func("/cpu-eject/migrate/reset-request",
                       test_migrate_reset_request);
        qtest_add_func("/cpu-eject/migrate/reset-request-cancel",
                       test_migrate_reset_request_cancel);
    }
    qtest_add_func("/cpu-eject/migrate/complete", test_migrate);
    qtest_add_func("/cpu-eject/migrate/cancel", test_migrate_cancel);
#ifndef _WIN32
    qtest_add_func("/cpu-eject/migrate/connect", test_migrate_connect);
#endif
    if (g_str_equal(qtest_get_arch(), "x86_64")) {
        if (qtest_has_device("isa-ide") && qtest_has_device("ide-hd")) {
            qtest_add_func("/cpu-eject/reset-io", test_reset_io);
        }
        add_running("tcg", "tcg,thread=multi");
        add_running("tcg", "tcg,thread=single");
        add_running("kvm", "kvm");
    }
    result = g_test_run();

    unlink(bios);
    g_free(machine_args);
    return result;
}
