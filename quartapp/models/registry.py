"""The models that a blueprint offers, by name, and the clients they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from openai import AsyncOpenAI

from quartapp.embedded import CATALOGUE, DEFAULT_MODEL, create_embedded, offers
from quartapp.errors import ChatError, SettingsError
from quartapp.events import Batches
from quartapp.models.chat_completions import ChatCompletions, open_client
from quartapp.models.in_process import InProcessTransport
from quartapp.requests.messages import ChatRequest
from quartapp.settings import Settings

OPENAI_MODEL = "gpt-5.4-mini"


class Model(Protocol):
    """Where the answers of one model come from; a project may bring its own."""

    def stream(self, request: ChatRequest, /) -> Batches:
        """The answer to `request`; closing the generator closes the upstream. Raises ChatError."""
        ...


class Models:
    """What can be asked, found by name with `find`; `names` are those to show. `close` lets go of the clients."""

    def __init__(
        self,
        find: Callable[[str], Model | None],
        default: str,
        *,
        names: Sequence[str],
        client: AsyncOpenAI | None = None,
    ) -> None:
        self._find = find
        self._default = default
        self.names = names
        self.client = client

    def get(self, name: str | None) -> tuple[str, Model]:
        """The model of that name, and the name; None means the default. Raises ChatError: model_not_found."""
        name = name or self._default
        model = self._find(name)
        if model is None:
            raise ChatError("model_not_found", path="model")
        return name, model

    async def close(self) -> None:
        if self.client is not None:
            await self.client.close()


def open_models(settings: Settings, given: Mapping[str, Model] | None = None) -> Models:
    """The models that `given` or the settings name; opens the client for their server, which `Models.close` closes."""
    if given:
        return Models(given.get, settings.model or next(iter(given)), names=list(given))
    return _open_embedded(settings) if settings.is_embedded else _open_single(settings)


def _open_single(settings: Settings) -> Models:
    client = open_client(settings)
    name = settings.model or OPENAI_MODEL
    return Models({name: ChatCompletions(client, name, settings)}.get, name, names=[name], client=client)


def _open_embedded(settings: Settings) -> Models:
    """The embedded model, which also offers its faults by name."""
    default = settings.model or DEFAULT_MODEL
    if not offers(default):
        raise SettingsError(
            f"CHAT_MODEL: no model of the embedded server, and neither OPENAI_API_KEY nor OPENAI_BASE_URL is set; "
            f"for example CHAT_MODEL={DEFAULT_MODEL}"
        )
    client = open_client(settings, InProcessTransport(create_embedded(settings.embedded_tokens_per_s)))

    def find(name: str) -> Model | None:
        return ChatCompletions(client, name, settings) if offers(name) else None

    return Models(find, default, names=list(CATALOGUE), client=client)
