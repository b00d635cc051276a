"""The mesh in network namespaces: topologies, wires, faults below the nodes' counters, outside traffic, trials."""
