"""What became of an event: for `synctl explain`. No part of the specification."""

from __future__ import annotations

from homeserver.rooms.explain import Explanations
from homeserver.web.endpoint import NONE, endpoint, endpoints
from homeserver.web.request import RequestInfo


@endpoint("GET", "/_myelin/admin/v1/explain/{event_id}", access=NONE)
async def explain(explanations: Explanations, event_id: str, request: RequestInfo) -> dict[str, list[str]]:
    """Lines that tell what became of an event. Who asks shows the secret of the data folder as an access token."""
    return {"explanation": await explanations.for_admin(request.access_token, event_id)}


ENDPOINTS = endpoints(__name__)
