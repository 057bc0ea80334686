/* The instructions of AMX on a CPU that has none: each raises SIGILL, whose handler does in C what it
 * would have done (amx_emulation.h) and goes on after it. So compiled code runs as it is, byte by byte.
 *
 * Linux on x86-64. What is none of these instructions ends the process, as it would without a handler.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>

#include "amx.h"

int trapped_instructions;

/* The general registers in the order of their numbers in an instruction. */
static const int places[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                               REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

struct operand {
    char *start;
    ptrdiff_t index; /* what a tile adds from row to row */
    const uint8_t *end;
};

/* The memory operand that the byte `mod_rm` and those after it describe. */
static struct operand operand_at(const uint8_t *mod_rm, int extra_base, int extra_index,
                                 const greg_t *registers) {
    const int mod = *mod_rm >> 6, rm = *mod_rm & 7;
    const uint8_t *at = mod_rm + 1;
    struct operand operand = {0};
    greg_t base = 0;
    int is_absolute = 0, is_relative = 0;
    if (rm == 4) {
        const int scale = *at >> 6, index = (*at >> 3 & 7) | extra_index, low = *at & 7;
        at++;
        if (index != 4) operand.index = (ptrdiff_t)registers[places[index]] << scale;
        is_absolute = low == 5 && mod == 0;
        if (!is_absolute) base = registers[places[low | extra_base]];
    } else if (rm == 5 && mod == 0) {
        is_relative = 1;
    } else {
        base = registers[places[rm | extra_base]];
    }
    if (mod == 1) {
        base += (int8_t)*at++;
    } else if (mod == 2 || is_absolute || is_relative) {
        int32_t distance;
        memcpy(&distance, at, sizeof distance);
        at += sizeof distance;
        base += distance;
    }
    if (is_relative) base += (greg_t)at;
    operand.start = (char *)base;
    operand.end = at;
    return operand;
}

static void handle(int signal_number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *code = (const uint8_t *)registers[REG_RIP];
    /* VEX with three bytes, of the map 0F 38, 128 bits, W 0. */
    const int is_vex = code[0] == 0xc4 && (code[1] & 0x1f) == 2 && (code[2] & 0x84) == 0;
    const int prefix = code[2] & 3, operation = code[3] << 4 | prefix;
    enum { NONE, X66, XF3, XF2 };
    const int is_register = code[4] >> 6 == 3, tile = code[4] >> 3 & 7, rm = code[4] & 7;
    const int third = ~code[2] >> 3 & 15;
    const uint8_t *end = code + 5;
    struct operand memory = {0};
    if (is_vex && !is_register) {
        memory = operand_at(code + 4, code[1] & 0x20 ? 0 : 8, code[1] & 0x40 ? 0 : 8, registers);
        end = memory.end;
    }
    if (is_vex && operation == (0x49 << 4 | NONE) && !is_register) {
        TILES_CONFIGURE((const struct tile_configuration *)(memory.start + memory.index));
    } else if (is_vex && operation == (0x49 << 4 | NONE) && code[4] == 0xc0) {
        TILES_RELEASE();
    } else if (is_vex && operation == (0x49 << 4 | XF2) && is_register && rm == 0) {
        TILE_ZERO(tile);
    } else if (is_vex && operation == (0x4b << 4 | XF2) && !is_register && rm == 4) {
        TILE_LOAD(tile, memory.start, memory.index);
    } else if (is_vex && operation == (0x4b << 4 | X66) && !is_register && rm == 4) {
        TILE_LOAD_ONCE(tile, memory.start, memory.index);
    } else if (is_vex && operation == (0x4b << 4 | XF3) && !is_register && rm == 4) {
        TILE_STORE(tile, memory.start, memory.index);
    } else if (is_vex && operation == (0x5c << 4 | XF3) && is_register && third < 8) {
        TILE_MULTIPLY(tile, rm, third);
    } else {
        signal(signal_number, SIG_DFL); /* the same instruction raises it again */
        return;
    }
    (void)info;
    __atomic_add_fetch(&trapped_instructions, 1, __ATOMIC_RELAXED);
    registers[REG_RIP] = (greg_t)end;
}

int trap_amx(void) {
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_NODEFER};
    return sigaction(SIGILL, &action, NULL);
}
