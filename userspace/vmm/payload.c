// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest's program. It runs at CPL 3 without stack, interrupts or outside symbols,
 * so that nothing but its registers and its pages carries its state:
 *
 *	rbp heartbeats        r12 random state     r13 params
 *	r14 page writes       r15 digest: the sum of mix(page, version) over its pages
 *	rbx, r9, r10, xmm0-7, ymm8-11: each the number of page writes times a constant
 *	rsp the page read last, where there is an order to read them in (touch)
 *
 * Before a page is overwritten its old content is compared with what its version says,
 * so a lost write can't hide under a newer one; likewise when it is read. Version 0 is a page of zeros: never
 * written, or given up to the balloon. Copied into guest RAM by guest.c.
 */
#include "vmm/payload.h"

#include <stddef.h>

#define S_(x) #x
#define S(x) S_(x)

_Static_assert(offsetof(struct payload_params, seed) == 24, "payload");
_Static_assert(offsetof(struct payload_params, avx) == 56, "payload");
_Static_assert(offsetof(struct payload_params, ymm) == 192, "payload");
_Static_assert(offsetof(struct payload_params, touch) == 320, "payload");
_Static_assert(offsetof(struct payload_params, touches) == 328, "payload");

__asm__(
".pushsection .rodata\n"
/* rax = mix(page rsi, version rcx); clobbers rdx. Version 0 mixes like any other. */
".macro pl_mix\n"
"	mov %rsi, %rax\n	shl $32, %rax\n	or %rcx, %rax\n	add 24(%r13), %rax\n"
"	movabs $" S(MIX_1) ", %rdx\n	imul %rdx, %rax\n"
"	mov %rax, %rdx\n	shr $32, %rdx\n	xor %rdx, %rax\n"
"	movabs $" S(MIX_2) ", %rdx\n	imul %rdx, %rax\n"
"	mov %rax, %rdx\n	shr $29, %rdx\n	xor %rdx, %rax\n"
".endm\n"
/* rax = high 32 bits of a new random number */
".macro pl_random\n"
"	mov %r12, %rax\n	shl $13, %rax\n	xor %rax, %r12\n"
"	mov %r12, %rax\n	shr $7, %rax\n	xor %rax, %r12\n"
"	mov %r12, %rax\n	shl $17, %rax\n	xor %rax, %r12\n"
"	mov %r12, %rax\n	shr $32, %rax\n"
".endm\n"
/* Page rsi must hold version ecx: mix is in rax. To \\bad if not; clobbers rax, rdx, rdi, r11 */
".macro pl_compare bad\n"
"	mov %rsi, %rdi\n	shl $12, %rdi\n"
"	movabs $" S(CONTENT) ", %r11\n"
/* Zeros stay zeros under multiply and rotate: version 0 needs no loop of its own. */
"	or $1, %rax\n	test %ecx, %ecx\n	jnz 1f\n	xor %eax, %eax\n"
"1:	xor %edx, %edx\n"
"2:	cmp %rax, (%rdi,%rdx)\n	jne \\bad\n"
"	imul %r11, %rax\n	rol $23, %rax\n	add $8, %edx\n	cmp $4096, %edx\n	jb 2b\n"
".endm\n"
/* rax = one of this vCPU's pages, of the 32 bits in rax */
".macro pl_page\n"
"	imul 8(%r13), %rax\n	shr $32, %rax\n	add (%r13), %rax\n"
".endm\n"
/* One 64-bit lane, in low quadword of xmm15, against r14 * constant at \\off */
".macro pl_lane off\n"
"	mov \\off(%r13), %rax\n	imul %r14, %rax\n	movq %xmm15, %rcx\n"
"	cmp %rax, %rcx\n	jne pl_bad_registers\n"
".endm\n"
".macro pl_pair reg off\n"
"	movdqa \\reg, %xmm15\n	pl_lane \\off\n"
"	psrldq $8, %xmm15\n	pl_lane \\off+8\n"
".endm\n"
".macro pl_gpr reg const\n"
"	movabs $\\const, %rax\n	imul %r14, %rax\n	cmp %rax, \\reg\n"
"	jne pl_bad_registers\n"
".endm\n"

".globl payload_start\n"
"payload_start:\n"
"pl_tick:\n"
"	inc %rbp\n	mov %ebp, %eax\n	mov $" S(PORT_HEART) ", %edx\n	out %eax, %dx\n"
"	pl_gpr %rbx " S(PATTERN_RBX) "\n"
"	pl_gpr %r9 " S(PATTERN_R9) "\n"
"	pl_gpr %r10 " S(PATTERN_R10) "\n"
"	pl_pair %xmm0 64\n	pl_pair %xmm1 80\n	pl_pair %xmm2 96\n	pl_pair %xmm3 112\n"
"	pl_pair %xmm4 128\n	pl_pair %xmm5 144\n	pl_pair %xmm6 160\n	pl_pair %xmm7 176\n"
"	cmpq $0, 56(%r13)\n	je pl_registers_ok\n"
"	pl_pair %xmm8 192\n	pl_pair %xmm9 224\n"
"	pl_pair %xmm10 256\n	pl_pair %xmm11 288\n"
"	vextracti128 $1, %ymm8, %xmm14\n	pl_pair %xmm14 208\n"
"	vextracti128 $1, %ymm9, %xmm14\n	pl_pair %xmm14 240\n"
"	vextracti128 $1, %ymm10, %xmm14\n	pl_pair %xmm14 272\n"
"	vextracti128 $1, %ymm11, %xmm14\n	pl_pair %xmm14 304\n"
"	jmp pl_registers_ok\n"
"pl_bad_registers:\n"
"	mov $" S(PAYLOAD_E_REGISTERS) ", %eax\n	mov $" S(PORT_ERROR) ", %edx\n	out %eax, %dx\n"
"pl_registers_ok:\n"

/* Every so many heartbeats give up a chunk: versions become 0, the VMM punches it. */
"	mov 48(%r13), %rcx\n	test %rcx, %rcx\n	jz pl_pace\n"
"	mov %rbp, %rax\n	xor %edx, %edx\n	div %rcx\n"
"	test %rdx, %rdx\n	jnz pl_pace\n"
"	pl_random\n"
"	imul 40(%r13), %rax\n	shr $32, %rax\n	shl $4, %rax\n	add 32(%r13), %rax\n"
"	mov %rax, %rsi\n	mov %rax, %r11\n	mov 16(%r13), %rdi\n	mov $16, %r8d\n"
"pl_give_up:\n"
"	mov (%rdi,%rsi,4), %ecx\n	pl_mix\n	sub %rax, %r15\n"
"	xor %ecx, %ecx\n	mov %ecx, (%rdi,%rsi,4)\n	pl_mix\n	add %rax, %r15\n"
"	inc %rsi\n	dec %r8d\n	jnz pl_give_up\n"
"	mov %r11d, %eax\n	mov $" S(PORT_BALLOON) ", %edx\n	out %eax, %dx\n"

/* Read pages in the order that was asked for. */
"pl_pace:\n"
"	mov 328(%r13), %r8\n	test %r8, %r8\n	jz pl_touched\n"
"pl_touch:\n"
"	cmpq $" S(TOUCH_SEQUENTIAL) ", 320(%r13)\n	je pl_next\n"
"	pl_random\n"
"	cmpq $" S(TOUCH_CHASE) ", 320(%r13)\n	jne pl_drawn\n"
"	mov %rsp, %rdi\n	shl $12, %rdi\n	add (%rdi), %rax\n"
"	movabs $" S(MIX_1) ", %rdx\n	imul %rdx, %rax\n	shr $32, %rax\n"
"pl_drawn:\n"
"	pl_page\n	mov %rax, %rsp\n	jmp pl_read\n"
"pl_next:\n"
"	inc %rsp\n	mov %rsp, %rax\n	sub (%r13), %rax\n	cmp 8(%r13), %rax\n	jb pl_read\n"
"	mov (%r13), %rsp\n"
"pl_read:\n"
"	mov %rsp, %rsi\n	mov 16(%r13), %rdi\n	mov (%rdi,%rsi,4), %ecx\n"
"	pl_mix\n	pl_compare pl_bad_read\n"
"pl_read_ok:\n"
"	dec %r8\n	jnz pl_touch\n	jmp pl_touched\n"
"pl_bad_read:\n"
"	mov $" S(PAYLOAD_E_PAGE) ", %eax\n	mov $" S(PORT_ERROR) ", %edx\n	out %eax, %dx\n"
"	jmp pl_read_ok\n"

"pl_touched:\n"
"	mov $" S(PORT_PACE) ", %edx\n	in %dx, %eax\n	mov %eax, %r8d\n"
"pl_write:\n"
"	test %r8d, %r8d\n	jz pl_tick\n"
"	pl_random\n	pl_page\n	mov %rax, %rsi\n"
"	mov 16(%r13), %rdi\n	mov (%rdi,%rsi,4), %ecx\n"
"	pl_mix\n	sub %rax, %r15\n"
"	pl_compare pl_bad_write\n"
"	jmp 4f\n"
"pl_bad_write:\n"
"	mov $" S(PAYLOAD_E_PAGE) ", %eax\n	mov $" S(PORT_ERROR) ", %edx\n	out %eax, %dx\n"
"4:	inc %ecx\n	pl_mix\n	add %rax, %r15\n"
"	or $1, %rax\n	xor %edx, %edx\n"
"5:	mov %rax, (%rdi,%rdx)\n"
"	imul %r11, %rax\n	rol $23, %rax\n	add $8, %edx\n	cmp $4096, %edx\n	jb 5b\n"
"	mov 16(%r13), %rdi\n	mov %ecx, (%rdi,%rsi,4)\n"

"	inc %r14\n"
"	movabs $" S(PATTERN_RBX) ", %rax\n	add %rax, %rbx\n"
"	movabs $" S(PATTERN_R9) ", %rax\n	add %rax, %r9\n"
"	movabs $" S(PATTERN_R10) ", %rax\n	add %rax, %r10\n"
"	paddq 64(%r13), %xmm0\n	paddq 80(%r13), %xmm1\n	paddq 96(%r13), %xmm2\n"
"	paddq 112(%r13), %xmm3\n	paddq 128(%r13), %xmm4\n	paddq 144(%r13), %xmm5\n"
"	paddq 160(%r13), %xmm6\n	paddq 176(%r13), %xmm7\n"
"	cmpq $0, 56(%r13)\n	je 6f\n"
"	vpaddq 192(%r13), %ymm8, %ymm8\n	vpaddq 224(%r13), %ymm9, %ymm9\n"
"	vpaddq 256(%r13), %ymm10, %ymm10\n	vpaddq 288(%r13), %ymm11, %ymm11\n"
"6:	dec %r8d\n	jmp pl_write\n"
".globl payload_end\n"
"payload_end:\n"
".purgem pl_mix\n.purgem pl_random\n.purgem pl_compare\n.purgem pl_page\n"
".purgem pl_lane\n.purgem pl_pair\n.purgem pl_gpr\n"
".popsection\n"
);
