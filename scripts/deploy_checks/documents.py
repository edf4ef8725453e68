"""YAML that says nothing twice."""

import yaml


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there already, of which YAML's other readers take the last, or none."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"{node.start_mark}: twice: {twice}"
        return super().construct_mapping(node, deep)


def read(text):
    """All documents of a text."""
    return list(yaml.load_all(text, Loader=StrictLoader))
