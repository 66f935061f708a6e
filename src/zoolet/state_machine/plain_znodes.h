/* Encodes many plain znodes at once for a snapshot (docs/formats/snapshot.md).
 *
 * A plain znode is one about which only its record says something: it never had a child, and has
 * OPEN_ACL and no owner but a session. storage/snapshots.py encodes all others, and can encode
 * these too.
 */

enum {
    MOST_ASCII_BYTES = 1000,
    ACL_NUMBER_BYTES = 8,
    /* Without path and data. Of the Stat, the length of the data and numChildren are left out. */
    ZNODE_BYTES = 2 * LENGTH_BYTES + ACL_NUMBER_BYTES + BEFORE_LENGTH + ZXID_BYTES,
    CVERSION = NUMBERS + 4, /* behind the version */
    CVERSION_BYTES = 4,
    OBJECTS_AHEAD = 16, /* how many paths ahead memory is loaded */
    SLOTS_AHEAD = 10,
    ENTRIES_AHEAD = 5,
    TABLE_SHIFT = 20, /* tables.py: the bits of a hash from here select the part */
};

static const char OPEN_ACL_NUMBER[ACL_NUMBER_BYTES] = "\xff\xff\xff\xff\xff\xff\xff\xff";

static int refuse_parts(void) {
    PyErr_SetString(PyExc_TypeError, "the parts of a table must be a list of dicts");
    return -1;
}

/* Return whether a path is in one of the tables; -1 after an error. */
static int is_in_any(PyObject *tables, PyObject *path) {
    int64_t bits = (int64_t)PyObject_Hash(path) >> TABLE_SHIFT;
    for (Py_ssize_t number = 0; number < PyTuple_GET_SIZE(tables); number++) {
        PyObject *parts = PyTuple_GET_ITEM(tables, number);
        if (!PyList_CheckExact(parts)) return refuse_parts();
        size_t num_parts = (size_t)PyList_GET_SIZE(parts), round = 1;
        if (num_parts == 0) continue;
        while (2 * round <= num_parts) round *= 2;
        size_t at = (size_t)bits & (2 * round - 1);
        PyObject *part = PyList_GET_ITEM(parts, (Py_ssize_t)(at < num_parts ? at : at - round));
        if (!PyDict_CheckExact(part)) return refuse_parts();
        if (PyDict_GET_SIZE(part) == 0) continue;
        int found = PyDict_Contains(part, path);
        if (found != 0) return found;
    }
    return 0;
}

static size_t encoded_bytes(const Entry *entry) {
    return ZNODE_BYTES + (size_t)PyUnicode_GET_LENGTH(entry->path) +
           data_bytes_of(entry->data_length);
}

INLINED char *append(char *to, const void *from, size_t size) {
    memcpy(to, from, size);
    return to + size;
}

/* The same for a size that varies: if the compiler inlines this memcpy, it takes twice as long. */
__attribute__((noinline)) static char *append_varying(char *to, const void *from, size_t size) {
    return append(to, from, size);
}

/* Encode a znode, and return the address behind it. */
static char *encode(char *to, const Entry *entry) {
    size_t path_bytes = (size_t)PyUnicode_GET_LENGTH(entry->path);
    size_t data_bytes = data_bytes_of(entry->data_length);
    char stat[STAT_BYTES];
    unpack_stat(stat, entry);
    memset(stat + CVERSION, 0, CVERSION_BYTES); /* no child was ever created */
    write_be(to, (uint32_t)path_bytes);
    to = append_varying(to + LENGTH_BYTES, PyUnicode_DATA(entry->path), path_bytes);
    write_be(to, (uint32_t)entry->data_length);
    to = append_varying(to + LENGTH_BYTES, entry->rest, data_bytes);
    to = append(to, OPEN_ACL_NUMBER, sizeof OPEN_ACL_NUMBER);
    to = append(to, stat, BEFORE_LENGTH);
    return append(to, stat + PZXID, ZXID_BYTES);
}

/* A run of plain znodes that is being encoded. */
typedef struct {
    RecordTable *records, *kept;
    PyObject *others, *paths;
    int marks;
    Py_ssize_t position, end, room;
    PyObject *bytes; /* NULL before the first znode */
    char *to;
} Run;

/* Return the path some positions further on, if it has a hash; NULL if there is none. */
static PyObject *path_ahead(const Run *run, Py_ssize_t distance) {
    if (run->end - run->position <= distance) return NULL;
    PyObject *path = PyList_GET_ITEM(run->paths, run->position + distance);
    return PyUnicode_CheckExact(path) ? path : NULL;
}

/* Tell the processor to load what later paths need, each step long enough before the next. */
static void fetch_later(const Run *run) {
    if (run->end - run->position > OBJECTS_AHEAD)
        __builtin_prefetch(PyList_GET_ITEM(run->paths, run->position + OBJECTS_AHEAD));
    PyObject *path = path_ahead(run, SLOTS_AHEAD);
    if (path != NULL) {
        fetch_slot(run->records, hash_of(path));
        if (run->kept->num_entries > 0) fetch_slot(run->kept, hash_of(path));
    }
    path = path_ahead(run, ENTRIES_AHEAD);
    if (path != NULL) {
        fetch_entry(run->records, hash_of(path));
        if (run->kept->num_entries > 0) fetch_entry(run->kept, hash_of(path));
    }
}

/* Return the slot that has the state of a path, and its table; NULL if the znode is not plain. */
static Slot *find_plain(const Run *run, PyObject *path, uint64_t hash, RecordTable **table) {
    Slot *slot = NULL;
    *table = run->kept;
    if (run->kept->num_entries > 0) slot = find(part_of(run->kept, hash), path, hash);
    if (slot == NULL) {
        int is_other = is_in_any(run->others, path);
        if (is_other != 0) return NULL;
        *table = run->records;
        slot = find(part_of(run->records, hash), path, hash);
    }
    return slot == NULL || entry_in(*slot)->data_length == AS_OBJECT ? NULL : slot;
}

/* Encode the next znode; return 0 if it must be left, or after an error. */
static int encode_next(Run *run) {
    PyObject *path = PyList_GET_ITEM(run->paths, run->position);
    if (!is_path(path)) return 0;
    Py_ssize_t path_bytes = PyUnicode_GET_LENGTH(path);
    if (!PyUnicode_IS_COMPACT_ASCII(path) || path_bytes < 2 || path_bytes > MOST_ASCII_BYTES)
        return 0;
    uint64_t hash = hash_of(path);
    RecordTable *table;
    Slot *slot = find_plain(run, path, hash, &table);
    if (slot == NULL || (Py_ssize_t)encoded_bytes(entry_in(*slot)) > run->room) return 0;
    if (run->bytes == NULL) {
        run->bytes = PyBytes_FromStringAndSize(NULL, run->room);
        if (run->bytes == NULL) return 0;
        run->to = PyBytes_AS_STRING(run->bytes);
    }
    Entry *entry = entry_in(*slot);
    run->room -= (Py_ssize_t)encoded_bytes(entry);
    run->to = encode(run->to, entry);
    if (table == run->kept)
        remove_slot(table, part_of(table, hash), slot);
    else if (run->marks)
        entry->mark = table->mark;
    run->position++;
    return 1;
}

/* Return a Run for arguments that are not checked yet; its `paths` are NULL after an error. */
static Run run_of(PyObject *const *arguments, Py_ssize_t count) {
    Run run = {.paths = NULL};
    if (count != 8 || !Py_IS_TYPE(arguments[0], &type) || !Py_IS_TYPE(arguments[1], &type) ||
        !PyTuple_CheckExact(arguments[2]) || !PyList_CheckExact(arguments[3])) {
        PyErr_SetString(PyExc_TypeError, "encode_plain() needs two tables, a tuple and a list");
        return run;
    }
    run.records = (RecordTable *)arguments[0];
    run.kept = (RecordTable *)arguments[1];
    run.others = arguments[2];
    run.position = PyLong_AsSsize_t(arguments[4]);
    run.end = PyLong_AsSsize_t(arguments[5]);
    run.room = PyLong_AsSsize_t(arguments[6]);
    run.marks = PyObject_IsTrue(arguments[7]);
    if (PyErr_Occurred()) return run;
    if (run.position < 0 || run.end > PyList_GET_SIZE(arguments[3]))
        PyErr_SetString(PyExc_IndexError, "the list of paths is shorter");
    else
        run.paths = arguments[3];
    return run;
}

static PyObject *encode_plain(PyObject *Py_UNUSED(module), PyObject *const *arguments,
                              Py_ssize_t count) {
    Run run = run_of(arguments, count);
    if (run.paths == NULL) return NULL;
    do {
        if (run.position >= run.end) break;
        fetch_later(&run);
    } while (encode_next(&run));
    if (PyErr_Occurred())
        Py_CLEAR(run.bytes);
    else if (run.bytes == NULL)
        run.bytes = PyBytes_FromStringAndSize(NULL, 0);
    else
        _PyBytes_Resize(&run.bytes, run.to - PyBytes_AS_STRING(run.bytes));
    return run.bytes == NULL ? NULL : Py_BuildValue("Nn", run.bytes, run.position);
}

static PyMethodDef functions[] = {
    {"encode_plain", (PyCFunction)(void (*)(void))encode_plain, METH_FASTCALL,
     PyDoc_STR("encode_plain(records, kept, others, paths, position, end, room, marks)\n\n"
               "Encode the znodes from paths[position] to before paths[end] as in a snapshot, until\n"
               "one is not plain, or `room` bytes are full. The state of a path is the record in the\n"
               "RecordTable `kept`, from which it is removed, or else the one in `records`, which\n"
               "is marked if `marks` is true. A znode is plain if it has a short record and a short\n"
               "ASCII path, and the path is in none of `others`, a tuple with the ``parts`` of\n"
               "PathTables. Return the bytes and the position of the first path that is left.")},
    {NULL, NULL, 0, NULL},
};
