# SPDX-License-Identifier: Apache-2.0
"""Compares windgate.pyi, which editors read, with the module that there is: both ways, every class and member."""
import ast
import os

import windgate


def public(names):
    return {n for n in names if not n.startswith('_')}


def differ(what, stub, real):
    assert stub == real, f'{what}: only in windgate.pyi {sorted(stub - real)}, only in the module {sorted(real - stub)}'


def members(tree, classes):
    """Of a class in the stub, with those of its private bases."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            found.add(node.target.id)
    for base in tree.bases:
        if isinstance(base, ast.Name) and base.id.startswith('_'):
            found |= members(classes[base.id], classes)
    return found


def keywords(tree, method):
    """The names that a method of the stub takes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == method:
            return {a.arg for a in node.args.kwonlyargs}
    return set()


def check_values(name, tree, real):
    """What is made with fields by name: __init__ and replace() take the fields, all of them."""
    fields = {n for n in public(dir(real)) if type(getattr(real, n)).__name__ == 'getset_descriptor'}
    differ(f'{name}()', keywords(tree, '__init__'), fields - {'op', 'lease', 'leased'})
    if hasattr(real, 'replace'):
        differ(f'{name}.replace()', keywords(tree, 'replace'), fields)
    real(**{})
    if 'Args' in name or 'Reply' in name:
        record = real()
        for n in fields - {'op', 'lease', 'leased'}:
            setattr(record, n, getattr(record, n))


def check():
    with open(os.environ['WG_MODULE_PATH'] + '/bindings/python/windgate.pyi') as f:
        tree = ast.parse(f.read())
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    names = {n.target.id for n in tree.body if isinstance(n, ast.AnnAssign)} | set(classes) | set(functions)
    differ('windgate', public(names), public(dir(windgate)))
    for n in classes.keys() & public(names):
        real = getattr(windgate, n)
        stub = public(members(classes[n], classes))
        if n == 'Xlator':
            fops = {windgate.method_name(f) for f in windgate.FOPS}
            hooks = {'any', 'start', 'stop', 'reload', 'handover', 'dump', 'invalidate'}
            differ(n, stub, public(dir(real)) | fops | hooks)
            for node in classes[n].body:
                if getattr(node, 'name', None) in fops:
                    camel = ''.join(w.capitalize() for w in node.name.strip('_').split('_')) + 'Args'
                    assert node.args.args[2].annotation.id == camel, node.name
        elif issubclass(real, windgate.Option):
            differ(n, stub, public(vars(real('1'))) if n == 'Option' else set())
        elif issubclass(real, (dict, Exception)):
            assert stub <= public(dir(real())) if n == 'Lru' else not stub, n
        elif issubclass(real, tuple):
            differ(n, stub, public(real.__match_args__))
        else:
            differ(n, stub, public(dir(real)))
            if n in ('Iatt', 'Sattr', 'Wcc', 'Etag', 'Statfs') or n.endswith(('Args', 'Reply')):
                check_values(n, classes[n], real)
    assert len([n for n in classes if n.endswith(('Args', 'Reply'))]) == 2 * len(windgate.FOPS) + 2
    source = ast.unparse(tree)
    assert ': Any\n    def value' not in source and 'value: Any' not in source, 'a field of a type that stubs.c does not know'


class Stubs(windgate.Xlator):
    def start(self):
        check()
