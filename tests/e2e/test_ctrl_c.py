"""Done when 5: Ctrl-C leaves nothing. The last test: it ends the installation that the others shared."""

from __future__ import annotations

from tests.e2e.house import House, loaded_programs


async def test_ctrl_c_leaves_no_namespace_process_program_mount_or_lease(house: House):
    before = house.traces()
    assert before.namespaces
    assert before.processes
    assert before.programs <= loaded_programs()
    assert before.programs
    assert before.files

    code = await house.interrupt()

    after = house.traces()
    assert code == 0, house.last_words()
    assert not after.namespaces
    assert not after.processes
    assert not before.programs & loaded_programs()
    assert not after.mounts
    assert not after.files, "a run file, or a lab with its journals of leases"
