/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints the part of windgate.pyi that comes from the fop table: the class of each fop's arguments and
 * results, and the methods that a translator may have. Runs at build time.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

struct field {
    const char *type, *name;
};

static const struct fop {
    const char *name;
    struct field in[16], out[16];
} fops[] = {
#define IN(type, name) { #type, #name },
#define OUT(type, name) { #type, #name },
#define FOP(no, name, kind, in, out) { #name, { in }, { out } },
#include "fops.def"
#undef FOP
#undef IN
#undef OUT
};
#define NFOPS (sizeof fops / sizeof *fops)

/* A type of the table: what reading the field gives, and what may be written to it. */
static const struct kind {
    const char *type, *reads, *writes;
} kinds[] = {
    { "bool", "bool", "bool" },
    { "u32", "int", "int" },
    { "u64", "int", "int" },
    { "time", "int", "int" },
    { "gfid", "Gfid", "_GfidLike" },
    { "ref", "Ref", "_RefLike" },
    { "loc", "Loc", "_LocLike" },
    { "str", "bytes", "_Bytes" },
    { "secret", "bytes", "_Bytes" },
    { "iatt", "Iatt | None", "Iatt | None" },
    { "etag", "Etag | None", "Etag | None" },
    { "sattr", "Sattr", "Sattr | None" },
    { "wcc", "Wcc", "Wcc | None" },
    { "statfs", "Statfs", "Statfs | None" },
    { "data", "Data", "_DataLike" },
};

static struct kind kind_of(const char *fop, const struct field *f)
{
    static const struct {
        const char *fop;
        struct kind kind;
    } lists[] = {
        { "readdir", { "list", "List[Dirent]", "Iterable[Dirent | tuple[int, _Bytes, _RefLike, Iatt | None]]" } },
        { "list", { "list", "List[Objent]", "Iterable[Objent | tuple[bool, _Bytes, _RefLike, int, int, Etag | None, "
                    "int, _Bytes]]" } },
        { "getxattr", { "list", "List[Xattr]", "Iterable[Xattr | tuple[_Bytes, _Bytes]]" } },
    };

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (!strcmp(f->type, "list") && !strcmp(lists[i].fop, fop))
            return lists[i].kind;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].type, f->type))
            return kinds[i];
    return (struct kind){ f->type, "Any", "Any" };
}

/* The underscore of a name that is a word of Python (those that a fop or field may come to have). */
static const char *tail(const char *name)
{
    static const char *const words[] = { "from", "del", "import", "in", "is", "global", "lambda", "class", "pass" };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(words[i], name))
            return "_";
    return "";
}

/* "copy_range" gives "CopyRange". */
static const char *camel(const char *name)
{
    static char text[64];
    size_t n = 0;
    int up = 1;

    for (; *name && n + 1 < sizeof text; name++) {
        if (*name != '_')
            text[n++] = up ? (char)toupper((unsigned char)*name) : *name;
        up = *name == '_';
    }
    text[n] = '\0';
    return text;
}

static void print_class(const char *fop, const char *base, const struct field *fields)
{
    printf("\n@final\nclass %s%s(_%s):\n    def __init__(self", camel(fop), base, base);
    if (fields->name || !strcmp(base, "Reply"))
        printf(", *");
    for (const struct field *f = fields; f->name; f++)
        printf(", %s%s: %s = ...", f->name, tail(f->name), kind_of(fop, f).writes);
    printf("%s) -> None: ...\n", !strcmp(base, "Reply") ? ", err: int = ..." : "");
    for (const struct field *f = fields; f->name; f++) {
        struct kind k = kind_of(fop, f);
        const char *t = tail(f->name);

        printf("    @property\n    def %s%s(self) -> %s: ...\n", f->name, t, k.reads);
        printf("    @%s%s.setter\n    def %s%s(self, value: %s) -> None: ...\n", f->name, t, f->name, t, k.writes);
    }
}

int main(void)
{
    printf("\n# --- fops: made from gateway/fops.def --------------------------------------------------------------\n");
    for (size_t i = 0; i < NFOPS; i++) {
        print_class(fops[i].name, "Args", fops[i].in);
        print_class(fops[i].name, "Reply", fops[i].out);
    }
    printf("\nclass Xlator:\n"
           "    \"\"\"A translator. A class derived from it has the methods named after fops that it treats: none is\n"
           "    there at run time but its own.\"\"\"\n"
           "    options: ClassVar[Mapping[str, Option]]\n"
           "    leases: ClassVar[bool]\n"
           "    name: str\n"
           "    opt: Any\n"
           "    def start(self) -> None: ...\n"
           "    def stop(self) -> None: ...\n"
           "    def reload(self) -> None: ...\n"
           "    def handover(self, old: Any) -> None: ...\n"
           "    def dump(self) -> Mapping[str, Any]: ...\n"
           "    def invalidate(self, gfid: Gfid | None, name: bytes | None) -> None: ...\n"
           "    def timer(self, seconds: float, fn: Callable[..., Any], *args: Any) -> Timer: ...\n"
           "    def spawn(self, fn: Callable[..., Any], *args: Any) -> None: ...\n"
           "    def log(self, text: object, level: str = 'info') -> None: ...\n"
           "    def any(self, call: Call, args: Any) -> _Result: ...\n");
    for (size_t i = 0; i < NFOPS; i++)
        printf("    def %s%s(self, call: Call, args: %sArgs) -> _Result: ...\n", fops[i].name, tail(fops[i].name),
               camel(fops[i].name));
    return ferror(stdout) || fflush(stdout) ? 1 : 0;
}
