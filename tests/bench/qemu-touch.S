# SPDX-License-Identifier: GPL-2.0-or-later
# A boot sector for bench-postcopy: fills the memory from 1 MiB to its end with content,
# says so on the serial port, then touches random pages of it for ever. PAGES is given by
# the assembler's command line.
	.code16
	.globl _start
_start:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	inb	$0x92, %al		# A20
	orb	$2, %al
	outb	%al, $0x92
	lgdt	gdtr
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmp	$8, $flat
	.code32
flat:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movl	$0x100000, %edi
	movl	$(PAGES * 1024), %ecx
	movl	$0x12345, %eax
fill:
	imull	$1664525, %eax
	addl	$1013904223, %eax
	movl	%eax, (%edi)
	addl	$4, %edi
	loop	fill
	movw	$0x3f8, %dx
	movb	$'A', %al
	outb	%al, %dx
	movl	$1, %ebx
touch:
	imull	$1664525, %ebx
	addl	$1013904223, %ebx
	movl	%ebx, %eax
	shrl	$8, %eax
	xorl	%edx, %edx
	movl	$PAGES, %ecx
	divl	%ecx
	shll	$12, %edx
	movl	0x100000(%edx), %eax
	jmp	touch
	.balign	4
gdt:	.quad	0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:	.word	23
	.long	gdt
	.org	510
	.word	0xaa55
