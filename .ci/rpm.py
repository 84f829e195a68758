"""Checks of the RPM: it has the files of the Debian package, and its scripts follow the rules of Fedora."""

import re
import subprocess
from pathlib import Path

from programs import Failed, check

# Paths of the Debian package that Fedora has elsewhere, as pairs of prefixes.
CONVENTIONS = {
    "/lib/systemd/system/": "/usr/lib/systemd/system/",
    "/usr/share/zsh/vendor-completions/": "/usr/share/zsh/site-functions/",
    "/usr/share/doc/mde-exporter/changelog.gz": "/usr/share/doc/mde-exporter/CHANGELOG.md",
    "/usr/share/doc/mde-exporter/copyright": "/usr/share/licenses/mde-exporter/LICENSE",
    "/usr/share/doc/mde-exporter/third-party-licences.txt": "/usr/share/licenses/mde-exporter/third-party-licences.txt",
}
# Only Debian's own tools read these.
DEBIAN_ONLY = {"/usr/share/doc/mde-exporter/changelog.Debian.gz", "/usr/share/lintian/overrides/mde-exporter"}
# The same text in another form.
OTHER_CONTENT = {"/usr/share/doc/mde-exporter/CHANGELOG.md", "/usr/share/licenses/mde-exporter/LICENSE"}
# That of Red Hat Enterprise Linux 9, the oldest system that the documentation names.
GLIBC = (2, 34)


def output(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))} exits with {done.returncode}: {done.stdout}")
    return done.stdout


def in_fedora(path):
    for debian, fedora in CONVENTIONS.items():
        if path.startswith(debian):
            return fedora + path.removeprefix(debian)
    return path


def files(folder):
    """The files below a folder, each with its mode."""
    paths = [path for path in folder.rglob("*") if not path.is_dir()]
    return {f"/{path.relative_to(folder)}": oct(path.stat().st_mode & 0o777) for path in paths}


def check_content(deb, rpm, folder):
    unpacked = {"deb": folder / "deb", "rpm": folder / "rpm"}
    for path in unpacked.values():
        path.mkdir()
    subprocess.run(["dpkg-deb", "--extract", deb, unpacked["deb"]], check=True)
    archive = subprocess.run(["rpm2archive", "-"], stdin=open(rpm, "rb"), stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "--extract", "--gzip", f"--directory={unpacked['rpm']}"], input=archive, check=True)

    expected = {in_fedora(path): mode for path, mode in files(unpacked["deb"]).items() if path not in DEBIAN_ONLY}
    found = files(unpacked["rpm"])
    different = sorted(set(expected.items()) ^ set(found.items()))
    check(not different, f"the RPM has the {len(expected)} files of the Debian package with their modes: {different}")
    listed = set(output("rpm", "--query", "--package", "--list", rpm).split())
    check(listed == found.keys(), f"the RPM lists what it contains: {sorted(listed ^ found.keys())}")

    same = {in_fedora(path): unpacked["deb"] / path[1:] for path in files(unpacked["deb"])}.items()
    different = [
        path
        for path, original in same
        if path in found and path not in OTHER_CONTENT
        and original.read_bytes() != (unpacked["rpm"] / path[1:]).read_bytes()
    ]
    check(not different, f"the files are the same in both packages: {different}")
    debian = set(output("dpkg-deb", "--info", deb, "conffiles").split())
    fedora = set(output("rpm", "--query", "--package", "--configfiles", rpm).split())
    check(debian == fedora, f"both keep the same configuration files: {sorted(debian)}, {sorted(fedora)}")
    output(unpacked["rpm"] / "usr/bin/mde_exporter", "--version")


def check_metadata(rpm):
    output("rpm", "--checksig", rpm)
    scripts = output("rpm", "--query", "--package", "--scripts", rpm)
    for name, line in {
        "postinstall": "systemctl --no-reload preset",
        "preuninstall": "systemctl --no-reload disable --now",
        "postuninstall": "systemctl try-restart",
    }.items():
        script = re.search(rf"^{name} scriptlet \(using /bin/sh\):\n(.*?)(?=^\w+ scriptlet|\Z)", scripts, re.M | re.S)
        check(script and line in script[1], f"the scriptlet {name} runs {line}")
    requires = output("rpm", "--query", "--package", "--requires", rpm)
    for name in ("ca-certificates", "systemd", "libc.so.6(GLIBC_2.34)(64bit)"):
        check(name in requires.split("\n"), f"the RPM requires {name}")
    newest = max(tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_([\d.]+)", requires))
    check(newest <= GLIBC, f"the binary runs with the C library of RHEL 9: {newest}")


def check_rpm(deb, rpm, folder):
    print(f"{Path(rpm).name}: {Path(rpm).stat().st_size / 1e6:.1f} MB", flush=True)
    check_content(deb, rpm, folder)
    check_metadata(rpm)
