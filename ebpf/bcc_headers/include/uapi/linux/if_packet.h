/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* bcc includes it; nothing in it is used by our programs. */
