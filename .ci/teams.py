"""Series as an exporter with the own label `team` serves them, for tests that own labels change no result."""

import re

COUNTS_OF_MACHINES = {
    "mde_assessed_machines",
    "mde_compliant_machines",
    "mde_policy_machines",
    "mde_machines_missing_exploited_updates",
}
MACHINE = "mde_machine_info"
NUMBERS = [2, 60]
TOKEN = re.compile(r"(-?\d+)([+-]\d+)?(?:x(\d+))?")


def share(number, part, parts):
    """The whole number that is one of `parts` shares of `number`; all shares together are `number`."""
    return (number + parts - 1 - part) // parts


def shares(values, part, parts):
    """One of `parts` shares of the values of a series, in the notation of promtool, such as `3x5 _ 1+2x7`."""

    def shared(token):
        if token.startswith("_"):
            return token
        start, step, times = TOKEN.fullmatch(token).groups()
        step = f"{share(int(step), part, parts):+d}" if step else ""
        return f"{share(int(start), part, parts)}{step}" + (f"x{times}" if times else "")

    return " ".join(map(shared, values.split()))


def by_team(series, values, teams, seed):
    """The series and values that stand for one series when its machines belong to `teams` teams; the last team has no
    name. A machine belongs to one team, which `seed` chooses. None for a series that has no own labels."""
    if not may_have_team(series):
        return None

    def of_team(number):
        return series if number == teams - 1 else with_team(series, number)

    if series.startswith(f"{MACHINE}{{"):
        return [(of_team(seed % teams), values)]
    return [(of_team(number), shares(values, number, teams)) for number in range(teams)]


def may_have_team(series):
    name, _, labels = series.partition("{")
    return (name == MACHINE or name in COUNTS_OF_MACHINES) and not re.search(r"\bteam=", labels)


def with_team(series, number):
    return f'{series[:-1]}, team="team-{number}"}}'


def with_new_label(series, values, seed):
    """The series and values that stand for one series when the own label is configured after a quarter of the time. None
    for a series that has no own labels."""
    if not may_have_team(series):
        return None
    every = list(expanded(values))
    quarter = len(every) // 4
    before = " ".join([*every[:quarter], "stale"])
    after = " ".join(["_"] * quarter + every[quarter:])
    return [(series, before), (with_team(series, seed % 3), after)]


def expanded(values):
    """The values of a series, one by one."""
    for token in values.split():
        if token.startswith("_"):
            yield from ["_"] * int(token[2:] or 1)
            continue
        start, step, times = TOKEN.fullmatch(token).groups(default="0")
        yield from (str(int(start) + int(step) * number) for number in range(int(times) + 1))
