"""`python -m tests.bench.workers.scan`: scan both chains as the long runs do, without Prefect, until told to stop."""

from __future__ import annotations

import asyncio
import signal

from flows.payments import ScanParameters, scanning
from models.payment_address import Chain
from tasks.diary import unreported


async def _scan() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with unreported():
        runs = [asyncio.create_task(scanning(ScanParameters(chain=chain))) for chain in Chain]
    told = asyncio.create_task(stop.wait())
    await asyncio.wait([*runs, told], return_when=asyncio.FIRST_COMPLETED)
    # A run that ended by itself failed; whoever started us learns it from our exit code.
    is_asked = told.done()
    for one in (*runs, told):
        one.cancel()
    ended = await asyncio.gather(*runs, return_exceptions=True)
    failed = [one for one in ended if isinstance(one, Exception)]
    if failed and not is_asked:
        raise failed[0]


if __name__ == "__main__":
    asyncio.run(_scan())
