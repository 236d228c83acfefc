"""Keys for end-to-end encryption: 200 users upload 50 each; one looks all up, claims one of each, sends to all."""

import base64
import json
from dataclasses import dataclass

import nacl.signing

from bench.cast import User
from bench.figures import Figure, Stage, costs
from bench.wire import Client, JsonObject, path_of, spread

USERS = 200
ONE_TIME_KEYS = 50
AT_ONCE = 8
ROUNDS = 10
ALGORITHM = "signed_curve25519"


@dataclass(frozen=True, slots=True)
class Owner:
    """A user with a device, and the body of an upload of its keys, signed beforehand."""

    user: User
    device_id: str
    upload: JsonObject


async def run(stage: Stage) -> list[Figure]:
    """Measure uploads, a look-up of all, claims from all, and messages to all devices."""
    users = await stage.cast.take(stage.count(USERS, least=20))
    owners = await spread(users, stage.server.address, AT_ONCE, _owner)
    figures: list[Figure] = []

    meter = stage.server.meter()
    await spread(owners, stage.server.address, AT_ONCE, _upload)
    uploads = meter.read()
    figures += costs("keys, upload 50 and a device", uploads, len(owners), "upload")

    client = Client(stage.server.address, users[0].token)
    try:
        meter = stage.server.meter()
        for _ in range(ROUNDS):
            wanted: JsonObject = {owner.user.user_id: [] for owner in owners}
            found = await client.json("POST", path_of("keys", "query"), {"device_keys": wanted})
            _expect(len(_object(found["device_keys"])), len(owners), "users looked up")
        queries = meter.read()
        figures += costs("keys, look up 200 users", queries, ROUNDS, "query")

        meter = stage.server.meter()
        for _ in range(ROUNDS):
            claims: JsonObject = {owner.user.user_id: {owner.device_id: ALGORITHM} for owner in owners}
            claimed = await client.json("POST", path_of("keys", "claim"), {"one_time_keys": claims})
            _expect(len(_object(claimed["one_time_keys"])), len(owners), "keys claimed")
        claimings = meter.read()
        figures += costs("keys, claim from 200 devices", claimings, ROUNDS, "claim")

        meter = stage.server.meter()
        for number in range(ROUNDS):
            messages: JsonObject = {owner.user.user_id: {owner.device_id: {"n": number}} for owner in owners}
            path = path_of("sendToDevice", "m.test", f"bench{number}")
            await client.json("PUT", path, {"messages": messages})
        sendings = meter.read()
        figures += costs("keys, message to 200 devices", sendings, ROUNDS, "request")
    finally:
        client.close()
    once_s = (queries.cpu_s + claimings.cpu_s + sendings.cpu_s) / ROUNDS
    figures.append(Figure("keys, all uploads and one of the others each", "CPU", uploads.cpu_s + once_s, "s"))
    return figures


async def _owner(client: Client, user: User) -> Owner:
    answer = await client.json("GET", path_of("account", "whoami"), token=user.token)
    device_id = str(answer["device_id"])
    key = nacl.signing.SigningKey.generate()
    key_id = f"ed25519:{device_id}"

    def signed(value: JsonObject) -> JsonObject:
        message = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
        return {**value, "signatures": {user.user_id: {key_id: _base64(key.sign(message).signature)}}}

    device_keys = signed(
        {
            "user_id": user.user_id,
            "device_id": device_id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {key_id: _base64(bytes(key.verify_key)), f"curve25519:{device_id}": _base64(bytes(key.verify_key))},
        }
    )
    one_time = {
        f"{ALGORITHM}:AAAA{number:03}": signed({"key": _base64(number.to_bytes(32, "big"))})
        for number in range(ONE_TIME_KEYS)
    }
    return Owner(user, device_id, {"device_keys": device_keys, "one_time_keys": one_time})


async def _upload(client: Client, owner: Owner) -> None:
    answer = await client.json("POST", path_of("keys", "upload"), owner.upload, owner.user.token)
    _expect(_object(answer["one_time_key_counts"])[ALGORITHM], ONE_TIME_KEYS, "keys uploaded")


def _object(value: object) -> JsonObject:
    if not isinstance(value, dict):
        raise RuntimeError(f"an object was expected: {value!r}")
    return value


def _expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise RuntimeError(f"{what}: {found} where {wanted} were expected")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")
