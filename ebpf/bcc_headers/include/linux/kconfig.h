/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* bcc includes this before everything else; all it wants to know of a kernel's configuration is that bpf() exists. */
#define CONFIG_BPF_SYSCALL 1
