"""The stages under test, in a closed loop: a simulated mesh, fake hands, a store in memory, and time that leaps."""
