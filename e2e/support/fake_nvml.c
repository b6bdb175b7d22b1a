/* A driver library whose cards a test holds in its hand: the real server loads it as NVML.
 *
 * The file named by FAKE_NVML has a line for each card:
 *     UUID STATE ERRORS PID,PID,…
 * STATE is `well`, `lost` (NVML_ERROR_GPU_IS_LOST) or `hangs` (no call comes back while it says so);
 * a card whose line is gone is one that the driver no longer lists. PIDs hold memory there; `-` for none.
 * A line of the driver itself, `driver STATE LOADED -`: while its STATE is `fails` every call fails, and a
 * session that was begun under another LOADED is dead (NVML_ERROR_UNKNOWN) until nvmlInit begins a new one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CARDS 8
#define PIDS 16
#define GIB (1ULL << 30)
enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, IS_LOST = 15, UNKNOWN = 999 };

typedef struct {
    char uuid[80], state[16];
    unsigned long long errors;
    unsigned int pids[PIDS], count;
} card;

typedef struct {
    unsigned int version;
    unsigned long long total, reserved, free, used;
} memory_v2;

typedef struct {
    unsigned int pid;
    unsigned long long memory;
    unsigned int gpu_instance, compute_instance;
} process;

/* A handle is the place of a card's line in the first reading: it outlives the line. */
static char handles[CARDS][80];

/* As the file says now, and how often the driver was loaded when this session began. */
static int fails;
static unsigned long long loaded, session;

static int read_cards(card *cards) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char pids[256];
    int count = 0;
    if (!file) return 0;
    fails = 0;
    loaded = 0;
    while (count < CARDS) {
        card *one = &cards[count];
        memset(one, 0, sizeof *one);
        if (fscanf(file, "%79s %15s %llu %255s", one->uuid, one->state, &one->errors, pids) != 4) break;
        if (!strcmp(one->uuid, "driver")) {
            fails = !strcmp(one->state, "fails");
            loaded = one->errors;
            continue;
        }
        for (char *pid = strtok(pids, ","); pid && *pid != '-' && one->count < PIDS; pid = strtok(NULL, ","))
            one->pids[one->count++] = (unsigned int)atoi(pid);
        count++;
    }
    fclose(file);
    return count;
}

/* The card of a handle, once it does not hang. */
static int find(void *handle, card *found) {
    card cards[CARDS];
    for (;;) {
        int count = read_cards(cards), at = 0;
        while (at < count && strcmp(cards[at].uuid, (const char *)handle)) at++;
        if (at == count) return IS_LOST;
        *found = cards[at];
        if (!strcmp(found->state, "lost")) return IS_LOST;
        if (strcmp(found->state, "hangs")) return SUCCESS;
        usleep(20000);
    }
}

int nvmlInit_v2(void) {
    card cards[CARDS];
    read_cards(cards);
    session = loaded;
    return fails ? UNKNOWN : SUCCESS;
}

int nvmlShutdown(void) { return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned int *count) {
    card cards[CARDS];
    *count = (unsigned int)read_cards(cards);
    return fails || session != loaded ? UNKNOWN : SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    card cards[CARDS], one;
    int count = read_cards(cards);
    if (index >= (unsigned int)count) return INVALID_ARGUMENT;
    for (int at = 0; at < CARDS; at++) {
        if (!*handles[at]) strcpy(handles[at], cards[index].uuid);
        if (!strcmp(handles[at], cards[index].uuid)) {
            *device = handles[at];
            return find(*device, &one);
        }
    }
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) {
    snprintf(uuid, length, "%s", (const char *)device);
    return SUCCESS;
}

int nvmlDeviceGetName(void *device, char *name, unsigned int length) {
    (void)device;
    snprintf(name, length, "NVIDIA Fake 24 GB");
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(void *device, memory_v2 *memory) {
    card one;
    int status = find(device, &one);
    if (status) return status;
    memory->total = 24 * GIB;
    memory->used = (one.count + 1) * GIB;
    memory->free = memory->total - memory->used;
    memory->reserved = 0;
    return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(void *device, int type, int counter, unsigned long long *count) {
    card one;
    int status = find(device, &one);
    (void)type, (void)counter;
    if (!status) *count = one.errors;
    return status;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, process *list) {
    card one;
    int status = find(device, &one);
    if (status) return status;
    if (*count < one.count || (!list && one.count)) {
        *count = one.count;
        return INSUFFICIENT_SIZE;
    }
    *count = one.count;
    for (unsigned int at = 0; at < one.count; at++) list[at] = (process){one.pids[at], GIB, ~0U, ~0U};
    return SUCCESS;
}
