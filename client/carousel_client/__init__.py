"""The Python client of Carousel: sequences and sessions of recurrent models, over HTTP and WebSocket."""

from carousel_client import errors
from carousel_client.answers import ItemAnswer, SessionInfo, SessionPage
from carousel_client.async_channel import AsyncChannel
from carousel_client.async_client import AsyncClient
from carousel_client.async_session import AsyncSession
from carousel_client.async_stream import AsyncStream
from carousel_client.client import Client, Session
from carousel_client.descriptions import Column, Feature, ModelDescription, ModelVersions, Version
from carousel_client.errors import *  # noqa: F403  (one class for each error code, named once in errors.__all__)
from carousel_client.prepare import Preparation
from carousel_client.stream import Channel, Stream

# fmt: off
__all__ = [
    "AsyncChannel", "AsyncClient", "AsyncSession", "AsyncStream", "Channel", "Client", "Column", "Feature",
    "ItemAnswer", "ModelDescription", "ModelVersions", "Preparation", "Session", "SessionInfo",
    "SessionPage", "Stream", "Version",
]
# fmt: on
__all__ += errors.__all__
