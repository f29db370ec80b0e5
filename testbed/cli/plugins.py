"""CNI plugins that a design calls: whether they are there."""

from testbed.cli.errors import MachineLacks, WrongInput, unknown
from testbed.cni.calls import looked_in, unusable
from testbed.designs.attachments.cni import plugins_of
from testbed.kernel.programs import DEBIAN_PLUGINS, PLUGINS_REMEDY, installed_plugins
from testbed.spec.design import PLUGINS, ReadCni


def need_plugins(spec: ReadCni) -> None:
    """Raises MachineLacks for plugins that a package would bring, WrongInput for others that are nowhere."""
    there = installed_plugins(spec.bin)
    missing = [name for name in plugins_of(spec) if name not in there]
    for name in missing:
        if name not in DEBIAN_PLUGINS or PLUGINS not in spec.bin:
            found = unknown("CNI plugin", name, there) if there else f"there is no CNI plugin '{name}'"
            folders = ", ".join(map(looked_in, spec.bin))
            raise WrongInput(f"{spec.texts[0][0]}: {found} (looked in {folders}){unusable([name], spec.bin)}")
    if missing:
        raise MachineLacks([f"the CNI plugin {name} is missing: {PLUGINS_REMEDY}" for name in missing])
