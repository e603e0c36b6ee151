"""How smtpeter is packed.

``package_dir={"": "."}`` stays as it is: with any other mapping an editable install loses the twistd plugin.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
VERSION = re.search(r'^__version__ = "([^"]+)"$', (HERE / "smtpeter" / "__init__.py").read_text("utf-8"), re.MULTILINE)
README = HERE / "README.md"


class BuildWithFeatures(build_py):
    """Packs plugins/*.py as modules of smtpeter.plugins, where an installed smtpeter looks for features."""

    def find_package_modules(self, package, package_dir):
        modules = super().find_package_modules(package, package_dir)
        if package == "smtpeter.plugins":
            modules += [(package, path.stem, str(path)) for path in sorted(Path("plugins").glob("*.py"))]
        return modules

    def run(self):
        super().run()
        if not self.editable_mode:
            self.remove_leftovers()

    def remove_leftovers(self):
        """An earlier build in the same place may have left modules that are gone: a feature, for example, twice."""
        outputs = {Path(path).resolve() for path in self.get_outputs(include_bytecode=False)}
        for path in Path(self.build_lib, "smtpeter").rglob("*.py"):
            if path.resolve() not in outputs:
                path.unlink()


setup(
    name="smtpeter",
    version=VERSION[1],
    description="A self-hosted email gateway: mail comes in by SMTP or HTTPS and is delivered with care",
    long_description=README.read_text("utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="smtpeter contributors",
    license="MIT",
    license_files=["LICENSE"],
    classifiers=[
        "Environment :: No Input/Output (Daemon)",
        "Framework :: Twisted",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Topic :: Communications :: Email :: Mail Transport Agents",
    ],
    python_requires=">=3.11",
    install_requires=[
        "argon2-cffi>=23.1",
        "click>=8.1",
        "cryptography>=44",
        "idna>=3.7",
        "lxml>=6.1",
        "premailer>=3.10",
        "prometheus-client>=0.20",
        "pydantic>=2.11",
        "pyopenssl>=25",
        "service-identity>=24.1",
        "twisted[tls]>=26.4",
        "zope.interface>=7",
    ],
    extras_require={
        "fast": ["css-inline>=0.17"],
        "test": [
            "aiosmtpd>=1.4.6",
            "css-inline>=0.17",
            "dkimpy[ed25519]>=1.1.8",
            "dnspython>=2.7",
            "hypothesis>=6.100",
            "openapi-spec-validator>=0.8",
            "pytest>=8.3",
            "pytest-twisted>=1.14.3",
            "pytest-xdist>=3.6",
            "requests>=2.31",
            "schemathesis>=4.30",
            "setuptools>=70.1",
            "wheel",
        ],
        "dev": ["mypy>=1.15", "mypy-zope>=1.0", "ruff>=0.11"],
    },
    package_dir={"": "."},
    packages=[*find_packages(include=["smtpeter", "smtpeter.*"]), "twisted.plugins"],
    package_data={"smtpeter": ["data/*.toml", "store/schema/*.sql"]},
    entry_points={"console_scripts": ["smtpeter = smtpeter.cli.main:main"]},
    cmdclass={"build_py": BuildWithFeatures},
    zip_safe=False,
)
