"""Mirror of ebpf/."""
