"""A model that needs no key: it writes the same campaign for every brand."""

import asyncio
import re
from collections.abc import AsyncIterator

from quartapp import ChatRequest

PAUSE_S = 0.03
CAMPAIGN = """{brand}. Begin with it.

The idea: people trust what they can try. For two weeks, everyone who brings a friend gets {brand} for both, and the \
second one is on the house.

The post: “We could write a lot about {brand}. Or you come by and see for yourself. Bring someone you like.”

The mail: Your first {brand} is waiting, and so is the one of your friend.

(This is a sample. With a key, a model writes a campaign of its own.)"""


async def sample(request: ChatRequest) -> AsyncIterator[str]:
    for word in re.findall(r"\S+\s*", CAMPAIGN.format(brand=request.text)):
        yield word
        await asyncio.sleep(PAUSE_S)
