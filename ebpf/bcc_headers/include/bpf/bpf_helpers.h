/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What our programs take from libbpf's header of this name. bcc declares the helpers itself and names its own sections. */
#ifndef BCC_HEADERS_BPF_HELPERS_H
#define BCC_HEADERS_BPF_HELPERS_H

#define SEC(name)
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#endif
