/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* bcc carries the kernel's UAPI header inside its library. */
#include <bcc/bpf.h>
