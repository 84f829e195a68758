"""A plain asyncio poller of getmissingkbs, to compare with: polling.py URL MACHINES."""

import asyncio
import json
import sys

import aiohttp

CONCURRENCY = 8


async def main(url, machines):
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer none"}) as session:
        async with session.get(f"{url}/api/machines") as reply:
            ids = [machine["id"] for machine in json.loads(await reply.read())["value"]]
        waiting = iter(ids)
        missing = {}

        async def worker():
            for machine in waiting:
                async with session.get(f"{url}/api/machines/{machine}/getmissingkbs") as reply:
                    value = json.loads(await reply.read())["value"]
                missing[machine] = {entry["id"]: entry["cveAddressed"] for entry in value}

        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    assert len(missing) == machines, len(missing)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
