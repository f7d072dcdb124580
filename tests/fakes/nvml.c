/* A libnvidia-ml.so.1 without a driver: as much of NVML as vram-monitor calls.
 *
 * The "hardware" is the text file named by FAKE_NVML_STATE, read again at every call:
 *
 *   gpu <uuid> <total MiB> <used MiB> <util %> <mW> <mJ> <deg C>    one line per device, in order
 *   process <gpu index> <pid> <MiB>
 *   error <code> <function> <gpu index, or -1 for every one>
 *   hang <function>                               does not return while this line is there
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, INSUFFICIENT_SIZE = 7, MAX_LINES = 64 };
enum { MIB = 1 << 20 };

typedef struct {
  char uuid[64];
  unsigned long long total_mib, used_mib, energy_mj;
  unsigned util, power_mw, celsius;
} Gpu;

typedef struct {
  unsigned gpu, pid;
  unsigned long long mib;
} Process;

typedef struct {
  int code, gpu;
  char function[64];
} Fault;

typedef struct {
  Gpu gpus[MAX_LINES];
  Process processes[MAX_LINES];
  Fault errors[MAX_LINES];
  char hangs[MAX_LINES][64];
  int gpu_count, process_count, error_count, hang_count;
} State;

static void read_state(State *state) {
  char line[256];
  const char *path = getenv("FAKE_NVML_STATE");
  FILE *file = path ? fopen(path, "r") : NULL;
  memset(state, 0, sizeof *state);
  while (file && fgets(line, sizeof line, file)) {
    Gpu *gpu = &state->gpus[state->gpu_count];
    Process *process = &state->processes[state->process_count];
    Fault *fault = &state->errors[state->error_count];
    if (sscanf(line, "gpu %63s %llu %llu %u %u %llu %u", gpu->uuid, &gpu->total_mib,
               &gpu->used_mib, &gpu->util, &gpu->power_mw, &gpu->energy_mj, &gpu->celsius) == 7)
      state->gpu_count++;
    if (sscanf(line, "process %u %u %llu", &process->gpu, &process->pid, &process->mib) == 3)
      state->process_count++;
    if (sscanf(line, "error %d %63s %d", &fault->code, fault->function, &fault->gpu) == 3)
      state->error_count++;
    if (sscanf(line, "hang %63s", state->hangs[state->hang_count]) == 1) state->hang_count++;
  }
  if (file) fclose(file);
}

static int hangs(const State *state, const char *function) {
  for (int i = 0; i < state->hang_count; i++)
    if (!strcmp(state->hangs[i], function)) return 1;
  return 0;
}

/* Reads the state for one call about a GPU (-1: about none), and says how the call ends. */
static int begin(State *state, const char *function, long gpu) {
  for (read_state(state); hangs(state, function); read_state(state)) usleep(5000);
  for (int i = 0; i < state->error_count; i++) {
    const Fault *fault = &state->errors[i];
    if (!strcmp(fault->function, function) && (fault->gpu == -1 || fault->gpu == gpu))
      return fault->code;
  }
  return gpu >= state->gpu_count ? INVALID_ARGUMENT : SUCCESS;
}

#define BEGIN(gpu)                            \
  State state;                                \
  int outcome = begin(&state, __func__, gpu); \
  if (outcome != SUCCESS) return outcome
#define BEGIN_DEVICE              \
  long index = (long)device - 1;  \
  BEGIN(index);                   \
  const Gpu *gpu = &state.gpus[index]

typedef void *Device; /* index + 1 */

typedef struct {
  unsigned pid;
  unsigned long long used_bytes;
  unsigned gpu_instance, compute_instance;
} ProcessInfo;

const char *nvmlErrorString(int code) { return code == 15 ? "GPU is lost" : "Fake error"; }
int nvmlInitWithFlags(unsigned flags) { BEGIN(-1); return SUCCESS; }
int nvmlShutdown(void) { BEGIN(-1); return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *count) {
  BEGIN(-1);
  *count = state.gpu_count;
  return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *device) {
  BEGIN(index);
  *device = (Device)(index + 1L);
  return SUCCESS;
}

int nvmlDeviceGetName(Device device, char *name, unsigned size) {
  BEGIN_DEVICE;
  snprintf(name, size, "Fake %lluG", gpu->total_mib / 1024);
  return SUCCESS;
}

int nvmlDeviceGetUUID(Device device, char *uuid, unsigned size) {
  BEGIN_DEVICE;
  snprintf(uuid, size, "%s", gpu->uuid);
  return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(Device device, unsigned long long total_free_used[3]) {
  BEGIN_DEVICE;
  total_free_used[0] = gpu->total_mib * MIB;
  total_free_used[1] = (gpu->total_mib - gpu->used_mib) * MIB;
  total_free_used[2] = gpu->used_mib * MIB;
  return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(Device device, unsigned gpu_memory[2]) {
  BEGIN_DEVICE;
  gpu_memory[0] = gpu->util;
  gpu_memory[1] = 0;
  return SUCCESS;
}

int nvmlDeviceGetPowerUsage(Device device, unsigned *milliwatts) {
  BEGIN_DEVICE;
  *milliwatts = gpu->power_mw;
  return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(Device device, unsigned long long *millijoules) {
  BEGIN_DEVICE;
  *millijoules = gpu->energy_mj;
  return SUCCESS;
}

int nvmlDeviceGetTemperature(Device device, unsigned sensor, unsigned *celsius) {
  BEGIN_DEVICE;
  *celsius = gpu->celsius;
  return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned *count, ProcessInfo *infos) {
  BEGIN_DEVICE;
  unsigned found = 0;
  (void)gpu;
  for (int i = 0; i < state.process_count; i++) {
    const Process *process = &state.processes[i];
    if (process->gpu != index) continue;
    if (infos && found < *count)
      infos[found] = (ProcessInfo){process->pid, process->mib * MIB, -1, -1};
    found++;
  }
  outcome = found && !infos ? INSUFFICIENT_SIZE : SUCCESS;
  *count = found;
  return outcome;
}
