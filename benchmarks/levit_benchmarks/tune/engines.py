"""Which engines are tried when none is named: those that levit-doctor finds to work, less PyTorch's."""

from __future__ import annotations

from levit_deploy.errors import EnvironmentIncompleteError
from levit_engines.catalogue import CATALOGUE
from levit_engines.doctor.diagnosis import examine, plan_probes
from levit_engines.doctor.gather import gather_facts
from levit_engines.doctor.verdicts import State

# Compiling takes minutes for each option, and who serves with PyTorch has to have it: only where it is asked for.
ONLY_BY_NAME = ("torch-eager", "torch-compile")


def working_engines() -> tuple[str, ...]:
    """The engines that ran a tiny network here just now, each in a process of its own.

    Raises:
        EnvironmentIncompleteError: there is none.
    """
    names = tuple(name for name in CATALOGUE if name not in ONLY_BY_NAME)
    facts = gather_facts()
    diagnosis = examine(facts, plan_probes(names, facts), names)
    working = tuple(verdict.engine for verdict in diagnosis.verdicts if verdict.state is State.WORKS)
    if not working:
        raise EnvironmentIncompleteError('no engine works here: pip install "levit-deploy[cpu]", or ask levit-doctor')
    return working
