/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A fault for each sanitizer: the first argument says which. test_control.py has them reported.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile int number = 40;

static int use_freed(void)
{
    char *volatile memory = malloc(10);

    free(memory);
    return memory[3];
}

static int shift_too_far(void)
{
    return 1 << number;
}

static void __attribute__((noinline)) lose(void)
{
    char *volatile memory = malloc(33);

    memory[0] = 1;
    memory = NULL;
}

static void *__attribute__((noinline)) increment(void *memory)
{
    int *shared = memory;

    for (int i = 0; i < 1000; i++) {
        (*shared)++;
    }
    return NULL;
}

static int race(void)
{
    /* On the stack, of which no file says what is there. */
    int shared = 0;
    pthread_t thread;

    if (pthread_create(&thread, NULL, increment, &shared)) {
        return 1;
    }
    increment(&shared);
    pthread_join(thread, NULL);
    return 0;
}

int main(int argc, char **argv)
{
    const char *which = argc > 1 ? argv[1] : "";

    if (!strcmp(which, "use_freed")) {
        return use_freed();
    } else if (!strcmp(which, "shift_too_far")) {
        return shift_too_far() == number;
    } else if (!strcmp(which, "lose")) {
        /* Twice, so that no register or stack slot still has the address of both. */
        lose();
        lose();
        return 0;
    } else if (!strcmp(which, "increment")) {
        return race();
    } else if (!strcmp(which, "none")) {
        return 0;
    }
    fprintf(stderr, "use_freed, shift_too_far, lose, increment or none\n");
    return 2;
}
