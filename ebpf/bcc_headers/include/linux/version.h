/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Nothing of ours asks for the version; bcc wants the names. The oldest kernel that can run our programs. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 8, 0)
