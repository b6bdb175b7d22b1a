/* A driver library with one card that supports next to nothing: the tests' stand-in for NVML.
 * Everything that it lacks must come out as a missing reading. A second one beside it is lost, or a
 * session dies, as the macro says that it is compiled with. */
#include <stdio.h>
#include <string.h>

typedef struct {
    unsigned int version;
    unsigned long long total, reserved, free, used;
} memory_v2;

static int cards = 2, first;
/* Readings of this session. */
static int readings;

int nvmlInit_v2(void) { readings = 0; return 0; }
int nvmlShutdown(void) { return 0; }

int nvmlDeviceGetCount_v2(unsigned int *count) {
    readings++;
#ifdef DEAD_AFTER_ONE_READING
    if (readings > 1) return 999; /* NVML_ERROR_UNKNOWN */
#endif
    *count = (unsigned int)cards;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
#ifdef LOST_AFTER_ONE_READING
    if (index == 0 && readings == 1) {
        *device = &first;
        return 0;
    }
#endif
    if (index == 0) return 15; /* the first card fell off the bus: NVML_ERROR_GPU_IS_LOST */
    *device = &cards;
    return 0;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) {
    const char *end = device == &first ? "5" : "4";
    snprintf(uuid, length, "GPU-00000000-1111-2222-3333-44444444444%s", end);
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
