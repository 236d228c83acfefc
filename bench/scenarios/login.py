"""Logging in with a password: with the server's own default of password hashing, and with the cheapest it takes."""

from bench.cast import log_in, register
from bench.figures import Figure, Stage, costs
from bench.wire import Client, spread

LOGINS = 40
USERS = 4
AT_ONCE = 4


async def run(stage: Stage) -> list[Figure]:
    """Measure logins, a few at once; the server is restarted for its default hashing, and again back."""
    figures: list[Figure] = []
    for title, default_passwords in (("login", True), ("login, cheap hash", False)):
        stage.server.restart(default_passwords)
        client = Client(stage.server.address)
        users = [await register(client, 1_000_000 + 100 * default_passwords + number) for number in range(USERS)]
        client.close()
        logins = stage.count(LOGINS, least=8)
        wanted = [users[number % USERS] for number in range(logins)]
        await spread(users, stage.server.address, AT_ONCE, log_in)
        meter = stage.server.meter()
        await spread(wanted, stage.server.address, AT_ONCE, log_in)
        figures += costs(title, meter.read(), logins, "login")
    return figures
