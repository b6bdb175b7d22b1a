/* A driver library with one card that supports next to nothing: the tests' stand-in for NVML.
 * Everything that it lacks must come out as a missing reading. */
#include <stdio.h>
#include <string.h>

typedef struct {
    unsigned int version;
    unsigned long long total, reserved, free, used;
} memory_v2;

static int cards = 2;

int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = (unsigned int)cards; return 0; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    if (index == 0) return 15; /* the first card fell off the bus: NVML_ERROR_GPU_IS_LOST */
    *device = &cards;
    return 0;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) {
    (void)device;
    snprintf(uuid, length, "GPU-00000000-1111-2222-3333-444444444444");
    return 0;
}

int nvmlDeviceGetName(void *device, char *name, unsigned int length) {
    (void)device;
    snprintf(name, length, "NVIDIA GeForce RTX 3090");
    return 0;
}

int nvmlDeviceGetMemoryInfo_v2(void *device, memory_v2 *memory) {
    (void)device;
    memory->total = 24ULL << 30;
    memory->used = 1ULL << 30;
    memory->free = 23ULL << 30;
    memory->reserved = 0;
    return 0;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *degrees) {
    (void)device; (void)sensor; (void)degrees;
    return 3; /* NVML_ERROR_NOT_SUPPORTED */
}
