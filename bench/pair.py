"""Two servers of one kind that speak to each other over TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.authority import HOST, Authority
from bench.postgres import free_port
from bench.servers import Myelin, Server, Synapse


class FederatedMyelin(Myelin):
    """Myelin with federation."""

    authority: Authority
    federation_port: int

    def adapt(self, config: dict[str, object]) -> dict[str, object]:
        """Add a listener for other servers, and let it reach this machine."""
        listener = {"bind": self.address.host, "port": self.address.port, "serves": ["client", "admin"]}
        tls = {"certificate": str(self.authority.certificate), "private_key": str(self.authority.private_key)}
        federation = {"bind": HOST, "port": self.federation_port, "tls": tls, "serves": ["federation"]}
        config["server_name"] = f"{HOST}:{self.federation_port}"
        config["listeners"] = [listener, federation]
        config["federation"] = {
            "enabled": True,
            "ca_file": str(self.authority.file),
            "allow_private_addresses": True,
            "trusted_key_servers": [],
        }
        return config


class FederatedSynapse(Synapse):
    """Synapse with federation."""

    authority: Authority
    federation_port: int

    def adapt(self, config: dict[str, object]) -> dict[str, object]:
        """Add a listener for other servers, and let it reach this machine."""
        listeners = config["listeners"]
        assert isinstance(listeners, list)
        config["server_name"] = f"{HOST}:{self.federation_port}"
        federation = {"port": self.federation_port, "bind_addresses": [HOST], "type": "http", "tls": True}
        listeners.append({**federation, "resources": [{"names": ["federation"]}]})
        config["tls_certificate_path"] = str(self.authority.certificate)
        config["tls_private_key_path"] = str(self.authority.private_key)
        config["federation_custom_ca_list"] = [str(self.authority.file)]
        config["ip_range_blacklist"] = []
        del config["federation_domain_whitelist"]
        return config


KINDS: Final[dict[str, type[FederatedMyelin] | type[FederatedSynapse]]] = {
    "myelin": FederatedMyelin,
    "synapse": FederatedSynapse,
}


def make_pair(kind: str, folder: Path) -> tuple[Server, Server]:
    """Two started servers, with databases of their own."""
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    authority = Authority(folder)
    made: list[Server] = []
    for number in (1, 2):
        server = KINDS[kind](folder / f"{kind}-{number}")
        server.authority, server.federation_port = authority, free_port()
        server.create()
        made.append(server)
    return made[0], made[1]


def server_name_of(server: Server) -> str:
    """The name of a server of a pair."""
    assert isinstance(server, FederatedMyelin | FederatedSynapse)
    return f"{HOST}:{server.federation_port}"
