"""Random small templates: filters, tests, methods, operators, formats and statements over typed values.

snippets(count, seed) draws them; MICRO_CONTEXT of template_cases.py holds the variables that they name. Accidents of how
Jinja2 folds constants are left out: 'inf'|float (a name error) and slices of literals (undefined where a variable's are
errors).
"""

import random

TEXTS = ["s", "u", "e", "html", "lines", "pad", "quote", "'a'", "'x y  z'", "'ΣΑΣ'", "'ﬁ ß ŉ'", "'İstanbul'", "'ǆ ǅ Ǆ'", "'١٢³½Ⅷ'", "'12'", "'-3.5'",
         "' 7 '", "'0x1F'", "'1_000'", "'1e5'", "'a-b c'", "'e\\u0301'", "'\\t\\n'", "'\\u00a0x\\u3000'", "'%s|%d'", "'{} {}'", "'<b>'|safe", "html|e",
         "'Ab1'", "'абв'", "'🙂👩‍👧'", "'aXbXc'", "'nan'", "'-inf'", "\"it's\"", "'a\\\\b'", "'\\x1c\\x85'", "'ᾳ'", "'k\\u0131'"]
NAMES = ["s", "u", "e", "lines", "l", "w", "mixed", "users", "n", "f", "d", "no", "missing", "range(9)", "d.keys()", "html|e", "nested.a.b", "s.split('o')"]
NUMBERS = ["n", "f", "neg", "t", "big", "small", "0", "1", "-1", "2", "3", "-7", "10", "2.5", "-0.5", "0.0", "-0.0", "1e3", "1e16", "1e-5", "123456789",
           "0.1", "1.005", "2.675", "1e300", "false", "9007199254740993", "1234567.891", "99.995", "5e-324"]
LISTS = ["l", "w", "mixed", "users", "[]", "()", "(1, 2)", "[1, 2.0, true]", "[[2, 'b'], [1, 'a']]", "range(4)", "range(9, 0, -3)", "d.keys()", "d.values()",
         "d.items()", "['a', 'B', 'a', 'b']", "[none, 1]", "[missing]", "['x']", "l|map('string')", "w|select", "nested.a.b", "[(1, 'x'), (0, 'y')]",
         "['é', 'Z', 'a']", "[1, -2, 3]", "['1', '02', 'x']", "[{'k': 1}, {'k': 0}, {}]", "u|list", "s.split()", "[0.1, 0.2, 0.3]", "[true, 1, 1.0, 'a']"]
DICTS = ["d", "nested", "{}", "{'a': 1, 'b': [1, {'c': none}]}", "users[0]", "{1: 'x', none: 2, 1.5: 3}", "dict(x=1)", "{'items': 1, 'get': 2, 'keys': 3}", "{'é': 'ü'}"]
OTHERS = ["no", "missing", "missing.x", "namespace(a=1)", "true", "none", "(1 if e)", "joiner(',')", "cycler(1, 2)", "range", "s.upper", "{}.zz"]
SMALL = ["0", "1", "2", "3", "-1", "-2", "5", "12", "none", "true", "1.5", "'2'", "missing"]
WHOLE = ["0", "1", "2", "3", "-1", "5", "true"]
SHORT = ["''", "' '", "'a'", "'o'", "'ab'", "'X'", "', '", "'\\n'", "'é'", "'l'", "none", "1", "'<'", "'<'|safe", "missing", "['a']", "('a', 'H')"]
TESTS = ["boolean", "callable", "defined", "divisibleby", "eq", "equalto", "escaped", "even", "false", "filter", "float", "ge", "greaterthan", "gt", "in",
         "integer", "iterable", "le", "lessthan", "lower", "lt", "mapping", "ne", "none", "number", "odd", "sameas", "sequence", "string", "test", "true",
         "undefined", "upper", "==", "!=", "<", ">=", "nosuchtest"]
ONE_ARGUMENT_TESTS = {"divisibleby", "eq", "equalto", "ge", "greaterthan", "gt", "in", "le", "lessthan", "lt", "ne", "sameas"}
PLAIN_FILTERS = ["abs", "capitalize", "count", "e", "escape", "filesizeformat", "first", "float", "forceescape", "int", "items", "last", "length", "list",
                 "lower", "max", "min", "reverse", "round", "safe", "sort", "string", "sum", "title", "tojson", "trim", "unique", "upper", "urlencode",
                 "wordcount", "join", "dictsort", "default", "d", "indent", "map", "select", "reject", "center", "truncate", "nosuchfilter"]
METHODS = {
    "capitalize": "", "casefold": "", "center": "NS", "count": "Snn", "endswith": "Sn", "expandtabs": "n", "find": "Snn", "index": "Sn", "isalnum": "", "isalpha": "",
    "isascii": "", "isdecimal": "", "isdigit": "", "isidentifier": "", "islower": "", "isnumeric": "", "isprintable": "", "isspace": "", "istitle": "",
    "isupper": "", "join": "L", "ljust": "NS", "lower": "", "lstrip": "s", "partition": "S", "removeprefix": "S", "removesuffix": "S", "replace": "SSn",
    "rfind": "Sn", "rindex": "S", "rjust": "NS", "rpartition": "S", "rsplit": "sn", "rstrip": "s", "split": "sn", "splitlines": "n", "startswith": "Snn",
    "strip": "s", "swapcase": "", "title": "", "upper": "", "zfill": "N", "get": "SS", "items": "", "keys": "", "values": "", "copy": "", "nosuchmethod": "",
}  # fmt: skip
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]


class Draw:
    """One stream of random choices."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, values):
        return self.random.choice(values)

    def chance(self, share):
        return self.random.random() < share

    def value(self):
        pool = self.random.choices([TEXTS, NUMBERS, LISTS, DICTS, OTHERS], [5, 3, 4, 2, 1])[0]
        return self.pick(pool)

    def text(self):
        return self.pick(TEXTS) if self.chance(0.95) else self.value()

    def number(self):
        return self.pick(NUMBERS) if self.chance(0.95) else self.value()

    def list(self):
        return self.pick(LISTS) if self.chance(0.9) else self.value()

    def some(self, *makers):
        """The first few of the arguments that the makers make, or all."""
        return ", ".join(make() for make in makers[: self.random.randint(0, len(makers))])

    # Filters with arguments.

    def attribute(self):
        return self.pick(["'name'", "'age'", "'x.y'", "'x'", "0", "'0'", "1", "'1'", "'k'", "'zz'", "'a.b.1.c'", "'age,name'", "none"])

    def filtered(self):
        draw = self.random.randrange(24)
        flag = lambda: self.pick(["true", "false", "1", "0", "none"])  # noqa: E731
        small, short = (lambda: self.pick(SMALL)), (lambda: self.pick(SHORT))
        test = self.pick(TESTS)
        makers = [
            lambda: f"{self.value()}|{self.pick(PLAIN_FILTERS)}",
            lambda: f"{self.value()}|{self.pick(PLAIN_FILTERS)}|{self.pick(PLAIN_FILTERS)}",
            lambda: f"{self.value()}|default({self.some(self.value, flag)})",
            lambda: f"{self.list()}|join({self.some(short, self.attribute)})",
            lambda: f"{self.list()}|sort({self.some(flag, flag, self.attribute)})",
            lambda: f"{self.list()}|sort(attribute={self.attribute()}, reverse={flag()})|map(attribute={self.attribute()})|list",
            lambda: f"{self.pick(DICTS)}|dictsort({self.some(flag, lambda: self.pick(['none', chr(39) + 'key' + chr(39), chr(39) + 'value' + chr(39), chr(39) + 'x' + chr(39)]), flag)})",
            lambda: f"{self.list()}|{self.pick(['unique', 'min', 'max'])}({self.some(flag, self.attribute)}){self.pick(['', '|list'])}",
            lambda: f"{self.list()}|sum({self.some(self.attribute, self.value)})",
            lambda: f"{self.list()}|{self.pick(['batch', 'slice'])}({self.some(lambda: self.pick(WHOLE), self.value)})|list",
            lambda: f"{self.list()}|groupby({self.some(self.attribute, self.value, flag)})",
            lambda: f"{self.list()}|map({self.mapped()}){self.pick(['', '|list', '|list', '|join', '|first'])}",
            lambda: f"{self.list()}|{self.pick(['select', 'reject'])}({self.quoted_test(test)})|list",
            lambda: f"{self.list()}|{self.pick(['selectattr', 'rejectattr'])}({self.attribute()}, {self.quoted_test(test)})|list",
            lambda: f"{self.text()}|replace({short()}, {short()}{self.pick(['', ', ' + small()])})",
            lambda: f"{self.text()}|indent({self.some(lambda: self.pick(['0', '2', chr(39) + '>> ' + chr(39), 'none', '-1']), flag, flag)})",
            lambda: f"{self.text()}|truncate({self.some(lambda: self.pick(['1', '3', '5', '8', '255', '0', '-1']), flag, short, lambda: self.pick(WHOLE))})",
            lambda: f"{self.text()}|{self.pick(['center', 'trim', 'wordcount', 'title', 'attr', 'format', 'int', 'float'])}({self.some(lambda: self.pick(SMALL + SHORT))})",
            lambda: f"{self.value()}|int({self.some(small, lambda: self.pick(['0', '2', '8', '10', '16', '36', '37', '1']))})",
            lambda: f"{self.number()}|round({self.some(small, lambda: self.pick([chr(39) + m + chr(39) for m in ('common', 'ceil', 'floor', 'x')]))})",
            lambda: f"{self.value()}|tojson({self.some(flag, lambda: self.pick(['none', '0', '1', '2', chr(39) + '--' + chr(39), 'true']))})",
            lambda: f"{self.value()}|tojson(sort_keys={flag()}, indent={self.pick(['none', '2', '0'])}, separators={self.pick(['none', '(chr, chr)', '[chr, chr]', '(chr,)']).replace('chr', repr(self.pick([',', ';', ': '])))})",
            lambda: f"{self.number()}|filesizeformat({self.some(flag)})",
            lambda: f"{self.value()}|{self.pick(['attr', 'string', 'list', 'length', 'urlencode', 'e', 'first', 'last', 'reverse'])}({self.some(short)})",
        ]
        return makers[draw]()

    def mapped(self):
        return self.pick(["'upper'", "'string'", "'length'", "'replace', 'a', 'b'", "attribute='name'", "attribute='x.y', default='-'", "attribute=0", "'int'", "'abs'",
                          "'default', 'q'", "'join', '-'", "'tojson'", "'first'", "'list'", "'nosuch'", "attribute='name', extra=1", "", "'trim'", "'round', 1", "'e'",
                          "attribute='age', default=none", "'attr', 'upper'", "'map'", "'indent', width=2"])  # fmt: skip

    def quoted_test(self, test):
        argument = f", {self.value()}" if test in ONE_ARGUMENT_TESTS or not test[0].isalpha() else ""
        return f"'{test}'{argument if self.chance(0.9) else ''}"

    # Other expressions.

    def tested(self):
        test = self.pick([t for t in TESTS if t[0].isalpha()])
        if test in ONE_ARGUMENT_TESTS:
            test += self.pick([f"({self.value()})", f"({self.value()})", f" {self.pick(['1', 'n', 'l', 's', chr(39) + 'a' + chr(39)])}", ""])
        return f"{self.value()} is {self.pick(['', '', 'not '])}{test}"

    def method(self):
        name = self.pick(list(METHODS))
        makers = {"S": lambda: self.pick(SHORT), "s": lambda: self.pick(SHORT), "n": lambda: self.pick(SMALL), "N": lambda: self.pick(SMALL), "L": self.list}
        return f"({self.text() if self.chance(0.8) else self.value()}).{name}({self.some(*(makers[kind] for kind in METHODS[name]))})"

    def operated(self):
        parts = [self.value()]
        for _ in range(self.pick([1, 1, 1, 2, 3])):
            parts += [self.pick(OPERATORS), self.pick(["", "", "", "-", "not "]) + self.value()]
        if self.chance(0.2):
            parts += ["if", self.value(), "else", self.value()]
        return " ".join(parts)

    def indexed(self):
        bound = lambda: self.pick(["", "", "0", "1", "2", "-1", "-2", "9", "none", "true", "'x'", "1.0"])  # noqa: E731
        if self.chance(0.5):
            step = self.pick(["", "", ":", ":2", ":-1", ":-2", ":0"])
            return f"({self.pick(NAMES)})[{bound()}:{bound()}{step}]"
        key = self.pick(["0", "-1", "1", "9", "'b'", "'name'", "'x'", "none", "true", "1.0", "1.5", "missing", "'items'", "'upper'", "(1, 2)", "[1]"])
        return f"({self.value()})[{key}]" + self.pick(["", ".x", "[0]", "|string", " is defined"])

    def percent(self):
        spec = "%" + self.pick(["", "", "-", "+", " ", "0", "#", "-0", "+0", "# "]) + self.pick(["", "", "5", "12", "1"]) + self.pick(["", "", ".0", ".2", ".5", "."])
        spec += self.pick("sdifFeEgGxXocrau%qb")
        text = self.pick(["", "a ", "é"]) + spec + self.pick(["", "", "|%s", "%%"])
        value = self.pick([self.value(), f"({self.value()},)", f"({self.value()}, {self.value()})"])
        return f"'{text}' % {value}"

    def braces(self):
        spec = self.pick(["", "", "*", "é", "0"]) + self.pick(["", "<", ">", "^", "="]) + self.pick(["", "+", "-", " "]) + self.pick(["", "", "#"])
        spec += self.pick(["0", "5", "12", "08", "", ",", "_", "12,", "9_"]) + self.pick(["", "", ".0", ".2", ".6"]) + self.pick(["", "s", "d", "f", "F", "e", "E", "g", "G", "x", "X", "o", "b", "%", "c", "n"])
        field = self.pick(["", "", "0", "1", "k", "0.name", "0[0]", "0[b]", "k.x"]) + self.pick(["", "", "!r", "!s", "!a", "!x"]) + self.pick(["", ":" + spec, ":" + spec])
        return f"'{self.pick(['', '{{}}', 'a'])}{{{field}}}'.format({self.value()}, {self.value()}, k={self.value()})"

    def expression(self):
        makers = [self.filtered, self.tested, self.method, self.operated, self.indexed, self.percent, self.braces]
        return self.random.choices(makers, [10, 3, 5, 5, 2, 2, 2])[0]()

    # Statements.

    def space(self):
        return self.pick(["", "", " ", "\n", "\n  ", "  \n", "\t", "\n\n", " x ", "\r\n", "y\n "])

    def tag(self, inner):
        return "{%" + self.pick(["", "", "", "-", "+"]) + f" {inner} " + self.pick(["", "", "", "-", "+"]) + "%}"

    def printed(self):
        return "{{" + self.pick(["", "", "-"]) + f" {self.simple()} " + self.pick(["", "", "-"]) + "}}"

    def simple(self):
        return self.pick(["x", "y", "n", "s", "loop.index", "loop.last", "loop.length", "loop.previtem", "loop.depth", "x ~ y", "ns.a", "m(x)", "m(1, y=2)", "y|default('-')",
                          "caller()", "varargs", "kwargs", "loop.cycle('a', 'b')", "loop.changed(x)", "x is defined", "m", "loop.revindex0", "x if y", "loop.nextitem|default('end')"])  # fmt: skip

    def body(self, depth):
        return "".join(self.space() + self.statement(depth) for _ in range(self.pick([1, 1, 2, 3]))) + self.space()

    def statement(self, depth):
        if depth <= 0 or self.chance(0.25):
            return self.pick([self.printed(), self.printed(), self.tag("set x = " + self.pick(["1", "y", "[1, 2]", "x + 1", "'t'", "1, 2"])),
                              self.tag("set ns.a = ns.a + 1"), "{#" + self.pick(["", "-"]) + " c " + self.pick(["", "-"]) + "#}", self.tag("set y, x = x, 5"),
                              self.tag("break"), self.tag("continue"), self.tag("print x, y"), self.tag("set ns = namespace(a=1)")])  # fmt: skip
        inner = lambda: self.body(depth - 1)  # noqa: E731
        kind = self.random.randrange(10)
        if kind <= 2:
            loop = self.pick(["x in l", "x in []", "x, y in d.items()", "x in 'ab'", "y in range(3)", "x in l if x > 1", "x in missing", "x in [[1], 2] recursive", "x in w", "x, y in [(1, 2), (3, 4)]"])
            return self.tag("for " + loop) + inner() + (self.tag("else") + inner() if self.chance(0.3) else "") + self.tag("endfor")
        if kind <= 4:
            middle = self.tag("elif " + self.pick(["y", "x", "n"])) + inner() if self.chance(0.3) else ""
            last = self.tag("else") + inner() if self.chance(0.4) else ""
            return self.tag("if " + self.pick(["x", "y is defined", "no", "n > 3", "loop.first", "not x"])) + inner() + middle + last + self.tag("endif")
        if kind == 5:
            return self.tag("macro m(" + self.pick(["", "x", "x, y=3", "y=x", "x='d'"]) + ")") + inner() + self.tag("endmacro")
        if kind == 6:
            return self.tag("call " + self.pick(["m()", "m(1)", "m(x, y=n)", "missing()"])) + inner() + self.tag("endcall")
        if kind == 7:
            return self.tag("set " + self.pick(["x", "y", "x | upper", "y | trim | length"])) + inner() + self.tag("endset")
        if kind == 8:
            return self.tag("filter " + self.pick(["upper", "trim", "replace('x', 'z')", "indent(1)", "nosuchfilter"])) + inner() + self.tag("endfilter")
        return self.tag("with " + self.pick(["", "x = 1", "x = y, y = x", "y = 2"])) + inner() + self.tag("endwith")


def snippets(count, seed):
    """`count` different templates: four in five print one expression, the others are statements."""
    draw = Draw(seed)
    found = {}
    while len(found) < count:
        text = "{{ " + draw.expression() + " }}" if draw.chance(0.8) else draw.body(3)
        found.setdefault(text)
    return list(found)
