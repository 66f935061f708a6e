/* zoolet.state_machine.record_table: the table from path to record, with little memory for each.
 *
 * docs/decisions/0120-record-table.md gives the reasons and the measurements. The interpreted build
 * uses PathTable (tables.py) instead, which does the same.
 *
 * The hash of a path selects a part (record_parts.h). A part grows alone. If the table grows, one
 * part after the other is split in two (linear hashing), so no call takes longer because the table
 * has more entries.
 *
 * Invariants: there are at least `round` parts, and fewer than twice as many. If an allocation
 * fails, the table is unchanged. The interpreter lock protects the table. The type needs no garbage
 * collection: it refers only to str and bytes, which refer to nothing.
 */
#include "record_parts.h"

enum {
    PART_MOST = 1000,    /* the mean number of entries of the parts, at most */
    PART_LEAST = 250,    /* if the mean is less, parts are joined */
    STEP = 10000,        /* the number of entries that one call of shrink() moves */
    COST_OF_A_PART = 20, /* of a part without entries, as a number of entries */
};

/* Of fetch_ahead(). */
enum {
    PARTS_IN_CACHE = 8, /* the processor's cache has the entries of fewer parts */
    FRAMES_AHEAD = 32,
    PATH_IN_FRAME = 16,    /* behind the frame's length, xid, op code, and the path's length */
    MOST_PATH_BYTES = 512, /* hashing a longer path takes longer than loading memory */
};

typedef struct {
    PyObject_HEAD
    Part *parts;
    size_t num_parts;
    size_t room_for_parts;
    size_t round;
    Py_ssize_t num_entries;
    size_t next_to_shrink;
    int has_removed;
    PyObject *last; /* the last record that get() made; NULL before */
    uint32_t mark;  /* of the marked entries; MOST_MARKS if none can be marked any more */
} RecordTable;

static size_t number_of_part(const RecordTable *self, uint64_t hash) {
    size_t number = (size_t)(hash >> LOW_TAG_BITS) & (2 * self->round - 1);
    return number < self->num_parts ? number : number - self->round;
}

static Part *part_of(const RecordTable *self, uint64_t hash) {
    return &self->parts[number_of_part(self, hash)];
}

/* -- The number of parts ----------------------------------------------------------------------- */

/* Make room for a number of parts, at least of those that exist. */
static int make_room_for_parts(RecordTable *self, size_t room) {
    Part *parts = PyMem_Realloc(self->parts, room * sizeof(Part));
    if (parts == NULL) return -1;
    self->parts = parts;
    self->room_for_parts = room;
    return 0;
}

/* Split the next part. If the memory is missing, the next new path tries it again. */
static void split(RecordTable *self) {
    Part stay, leave;
    size_t room = self->room_for_parts;
    if (self->num_parts == room && make_room_for_parts(self, 2 * room) < 0) return;
    Part *part = &self->parts[self->num_parts - self->round];
    uint64_t bit = (uint64_t)self->round << LOW_TAG_BITS;
    uint32_t num_leave = count_with(part, bit);
    if (make_part(&leave, num_leave) < 0) return;
    if (make_part(&stay, part->num_entries - num_leave) < 0) {
        PyMem_Free(leave.slots);
        return;
    }
    move_entries(part, &stay, &leave, bit);
    PyMem_Free(part->slots);
    *part = stay;
    self->parts[self->num_parts++] = leave;
    if (self->num_parts == 2 * self->round) self->round = self->num_parts;
}

/* Undo the last split; return -1 if the memory is missing. */
static int join(RecordTable *self) {
    Part joined;
    size_t before = self->num_parts > self->round ? self->round : self->round / 2;
    Part *last = &self->parts[self->num_parts - 1], *part = last - before;
    if (make_part(&joined, (size_t)part->num_entries + last->num_entries) < 0) return -1;
    move_entries(part, &joined, &joined, 0);
    move_entries(last, &joined, &joined, 0);
    PyMem_Free(part->slots);
    PyMem_Free(last->slots);
    *part = joined;
    self->round = before;
    self->num_parts--;
    return 0;
}

/* -- The table --------------------------------------------------------------------------------- */

static int is_path(PyObject *path) {
    if (PyUnicode_CheckExact(path)) return 1;
    PyErr_Format(PyExc_TypeError, "a path must be str, not %.100s", Py_TYPE(path)->tp_name);
    return 0;
}

static int is_record(PyObject *record) {
    if (PyBytes_CheckExact(record)) return 1;
    PyErr_Format(PyExc_TypeError, "a record must be bytes, not %.100s", Py_TYPE(record)->tp_name);
    return 0;
}

/* Insert an entry that was just made, which may be NULL after an error; free it after an error. */
static int insert_entry(RecordTable *self, Entry *entry, uint64_t hash) {
    if (entry == NULL) return -1;
    Part *part = part_of(self, hash);
    if (((uint64_t)part->num_used + 1) * 5 > (uint64_t)part->num_slots * 4 && resize(part) < 0) {
        free_entry(entry);
        PyErr_NoMemory();
        return -1;
    }
    put(part, (Slot)entry | tag_of(hash), hash);
    self->num_entries++;
    if ((size_t)self->num_entries > PART_MOST * self->num_parts) split(self);
    return 0;
}

static int insert(RecordTable *self, PyObject *path, PyObject *record, uint64_t hash) {
    return insert_entry(self, new_entry(path, record), hash);
}

static int replace(Slot *slot, PyObject *record) {
    Entry *entry = entry_in(*slot), form;
    set_form(&form, record);
    if (form.data_length != AS_OBJECT && form.data_length == entry->data_length &&
        form.is_created == entry->is_created) {
        pack(entry, record);
        return 0;
    }
    Entry *made = new_entry(entry->path, record);
    if (made == NULL) return -1;
    made->mark = entry->mark;
    *slot = (Slot)made | (*slot & TAG_MASK);
    free_entry(entry);
    return 0;
}

static void remove_slot(RecordTable *self, Part *part, Slot *slot) {
    free_entry(entry_in(*slot));
    *slot = REMOVED;
    part->num_entries--;
    self->num_entries--;
    self->has_removed = 1;
    Slot *last = part->slots + part->num_slots - 1;
    if (*(slot < last ? slot + 1 : part->slots) != EMPTY) return;
    /* No search needs to go on here. */
    for (; *slot == REMOVED; slot = slot > part->slots ? slot - 1 : last) {
        *slot = EMPTY;
        part->num_used--;
    }
}

INLINED PyObject *look_up(RecordTable *self, PyObject *path) {
    if (!is_path(path)) return NULL;
    uint64_t hash = hash_of(path);
    Slot *slot = find(part_of(self, hash), path, hash);
    if (slot == NULL) Py_RETURN_NONE;
    return record_of(entry_in(*slot), &self->last);
}

/* METH_FASTCALL, because Python counts the depth of calls with METH_O. */
static PyObject *get(RecordTable *self, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 1) return PyErr_Format(PyExc_TypeError, "get() needs a path");
    return look_up(self, arguments[0]);
}

static PyObject *get_item(RecordTable *self, PyObject *path) {
    PyObject *record = look_up(self, path);
    if (record != Py_None) return record;
    Py_DECREF(record);
    PyErr_SetObject(PyExc_KeyError, path);
    return NULL;
}

static int contains(RecordTable *self, PyObject *path) {
    if (!is_path(path)) return -1;
    uint64_t hash = hash_of(path);
    return find(part_of(self, hash), path, hash) != NULL;
}

static int set_item(RecordTable *self, PyObject *path, PyObject *record) {
    if (record == NULL) {
        PyErr_SetString(PyExc_TypeError, "use pop() to remove a path");
        return -1;
    }
    if (!is_path(path) || !is_record(record)) return -1;
    uint64_t hash = hash_of(path);
    Slot *slot = find(part_of(self, hash), path, hash);
    return slot == NULL ? insert(self, path, record, hash) : replace(slot, record);
}

static PyObject *add(RecordTable *self, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 2) return PyErr_Format(PyExc_TypeError, "add() needs a path and a record");
    PyObject *path = arguments[0], *record = arguments[1];
    if (!is_path(path) || !is_record(record)) return NULL;
    uint64_t hash = hash_of(path);
    if (find(part_of(self, hash), path, hash) != NULL) Py_RETURN_FALSE;
    if (insert(self, path, record, hash) < 0) return NULL;
    Py_RETURN_TRUE;
}

static PyObject *pop(RecordTable *self, PyObject *path) {
    if (!is_path(path)) return NULL;
    uint64_t hash = hash_of(path);
    Part *part = part_of(self, hash);
    Slot *slot = find(part, path, hash);
    if (slot == NULL) Py_RETURN_NONE;
    PyObject *record = record_of(entry_in(*slot), &self->last);
    if (record != NULL) remove_slot(self, part, slot);
    return record;
}

static PyTypeObject type;

static PyObject *copy_to(RecordTable *self, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 2 || !Py_IS_TYPE(arguments[1], &type))
        return PyErr_Format(PyExc_TypeError, "copy_to() needs a path and a table");
    if (!is_path(arguments[0])) return NULL;
    RecordTable *other = (RecordTable *)arguments[1];
    uint64_t hash = hash_of(arguments[0]);
    Slot *slot = find(part_of(self, hash), arguments[0], hash);
    if (slot == NULL) {
        PyErr_SetObject(PyExc_KeyError, arguments[0]);
        return NULL;
    }
    if (find(part_of(other, hash), arguments[0], hash) != NULL) Py_RETURN_NONE;
    if (insert_entry(other, copy_of(entry_in(*slot)), hash) < 0) return NULL;
    Py_RETURN_NONE;
}

/* -- Marks ------------------------------------------------------------------------------------- */

static PyObject *forget_marks(RecordTable *self, PyObject *Py_UNUSED(none)) {
    if (self->mark < MOST_MARKS) self->mark++;
    Py_RETURN_NONE;
}

static int is_marked(const RecordTable *self, const Entry *entry) {
    return entry->mark == self->mark && self->mark < MOST_MARKS;
}

static PyObject *mark(RecordTable *self, PyObject *path) {
    if (!is_path(path)) return NULL;
    uint64_t hash = hash_of(path);
    Slot *slot = find(part_of(self, hash), path, hash);
    if (slot != NULL) entry_in(*slot)->mark = self->mark;
    Py_RETURN_NONE;
}

static PyObject *change(RecordTable *self, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 2) return PyErr_Format(PyExc_TypeError, "change() needs a path and a record");
    PyObject *path = arguments[0], *record = arguments[1];
    if (!is_path(path) || !is_record(record)) return NULL;
    uint64_t hash = hash_of(path);
    Slot *slot = find(part_of(self, hash), path, hash);
    if (slot == NULL || !is_marked(self, entry_in(*slot))) Py_RETURN_FALSE;
    if (replace(slot, record) < 0) return NULL;
    Py_RETURN_TRUE;
}

/* -- Memory ahead ------------------------------------------------------------------------------ */

/* Fill `hashes` with those of the paths in the next frames of requests; return their number. */
static size_t hash_paths(const char *at, const char *end, uint64_t *hashes) {
    Py_hash_t (*hash)(const void *, Py_ssize_t) = PyHash_GetFuncDef()->hash;
    size_t count = 0;
    while (count < FRAMES_AHEAD && end - at >= PATH_IN_FRAME) {
        size_t left = (size_t)(end - at), frame_bytes = LENGTH_BYTES + (size_t)read_be(at);
        if (frame_bytes > left || frame_bytes < PATH_IN_FRAME) break;
        size_t path_bytes = read_be(at + PATH_IN_FRAME - LENGTH_BYTES);
        if (path_bytes <= frame_bytes - PATH_IN_FRAME && path_bytes <= MOST_PATH_BYTES)
            hashes[count++] = mixed(hash(at + PATH_IN_FRAME, (Py_ssize_t)path_bytes));
        at += frame_bytes;
    }
    return count;
}

/* Tell the processor to load the place of an entry. */
INLINED void fetch_slot(const RecordTable *self, uint64_t hash) {
    const Part *part = part_of(self, hash);
    __builtin_prefetch(part->slots + first_slot(part, hash));
}

/* Tell the processor to load the place that a new entry with a path will have. */
static PyObject *fetch_place(RecordTable *self, PyObject *path) {
    if (!is_path(path)) return NULL;
    fetch_slot(self, hash_of(path));
    Py_RETURN_NONE;
}

/* Tell the processor to load the likely entry, and return it; the place should be loaded before. */
INLINED const Entry *fetch_entry(const RecordTable *self, uint64_t hash) {
    const Entry *entry = likely_entry(part_of(self, hash), hash);
    if (entry != NULL)
        for (int line = 0; line < 3; line++) __builtin_prefetch((const char *)entry + 64 * line);
    return entry;
}

/* A request on a path begins with it. Other requests lead to memory that nobody needs. */
static PyObject *fetch_ahead(RecordTable *self, PyObject *const *arguments, Py_ssize_t count) {
    uint64_t hashes[FRAMES_AHEAD];
    const Entry *entries[FRAMES_AHEAD];
    if (count != 2 || !PyBytes_CheckExact(arguments[0]))
        return PyErr_Format(PyExc_TypeError, "fetch_ahead() needs bytes and a position");
    Py_ssize_t position = PyLong_AsSsize_t(arguments[1]), size = PyBytes_GET_SIZE(arguments[0]);
    if (position == -1 && PyErr_Occurred()) return NULL;
    if (self->num_parts < PARTS_IN_CACHE || position < 0 || position > size) Py_RETURN_NONE;
    const char *data = PyBytes_AS_STRING(arguments[0]);
    size_t num_paths = hash_paths(data + position, data + size, hashes), num_entries = 0;
    for (size_t number = 0; number < num_paths; number++) fetch_slot(self, hashes[number]);
    for (size_t number = 0; number < num_paths; number++) {
        const Entry *entry = fetch_entry(self, hashes[number]);
        if (entry != NULL) entries[num_entries++] = entry;
    }
    for (size_t number = 0; number < num_entries; number++) {
        __builtin_prefetch(entries[number]->path);
        __builtin_prefetch((const char *)entries[number]->path + sizeof(PyASCIIObject));
    }
    Py_RETURN_NONE;
}

static PyObject *shrink(RecordTable *self, PyObject *Py_UNUSED(none)) {
    Py_ssize_t room = STEP; /* if the memory is missing, a later call tries it again */
    while (self->num_parts > 1 && room > 0 &&
           (size_t)self->num_entries < PART_LEAST * self->num_parts) {
        room -= 2 * (Py_ssize_t)self->parts[self->num_parts - 1].num_entries + COST_OF_A_PART;
        if (join(self) < 0) Py_RETURN_NONE;
    }
    if (4 * self->num_parts < self->room_for_parts) make_room_for_parts(self, 2 * self->num_parts);
    if (self->next_to_shrink >= self->num_parts) self->next_to_shrink = 0;
    if (self->next_to_shrink == 0) {
        if (!self->has_removed) Py_RETURN_NONE;
        self->has_removed = 0;
    }
    for (; room > 0 && self->next_to_shrink < self->num_parts; self->next_to_shrink++) {
        Part *part = &self->parts[self->next_to_shrink];
        room -= COST_OF_A_PART;
        if (part->num_slots <= 2 * part->num_entries + LEAST_SLOTS) continue;
        room -= part->num_entries;
        if (resize(part) < 0) self->has_removed = 1;
    }
    Py_RETURN_NONE;
}

/* A table that loses its last part has fewer paths, and nothing else is wrong with it. */
static PyObject *drop_some(RecordTable *self, PyObject *Py_UNUSED(none)) {
    for (Py_ssize_t room = STEP; room > 0; room -= COST_OF_A_PART) {
        Part *part = &self->parts[self->num_parts - 1];
        room -= (Py_ssize_t)part->num_entries;
        self->num_entries -= (Py_ssize_t)part->num_entries;
        free_entries(part);
        if (self->num_parts == 1) Py_RETURN_FALSE;
        PyMem_Free(part->slots);
        if (self->num_parts == self->round) self->round /= 2;
        self->num_parts--;
    }
    Py_RETURN_TRUE;
}

static Py_ssize_t length(RecordTable *self) { return self->num_entries; }

/* Return an iterator over a copy of the paths, so the table may change meanwhile. */
static PyObject *iterate(RecordTable *self) {
    PyObject *paths = PyList_New(self->num_entries);
    if (paths == NULL) return NULL;
    if (PyList_GET_SIZE(paths) != self->num_entries) { /* the garbage collector ran Python code */
        Py_DECREF(paths);
        return PyErr_Format(PyExc_RuntimeError, "the table has changed");
    }
    Py_ssize_t count = 0;
    for (size_t number = 0; number < self->num_parts; number++) {
        const Part *part = &self->parts[number];
        for (uint32_t at = 0; at < part->num_slots; at++)
            if (part->slots[at] > REMOVED)
                PyList_SET_ITEM(paths, count++, Py_NewRef(entry_in(part->slots[at])->path));
    }
    PyObject *iterator = PyObject_GetIter(paths);
    Py_DECREF(paths);
    return iterator;
}

static PyObject *new_table(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, ":RecordTable", names)) return NULL;
    RecordTable *self = (RecordTable *)type->tp_alloc(type, 0); /* all other fields are 0 */
    if (self == NULL) return NULL;
    self->round = self->room_for_parts = 1;
    self->parts = PyMem_Malloc(sizeof(Part));
    if (self->parts == NULL || make_part(&self->parts[0], 0) < 0) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->num_parts = 1;
    self->mark = 1; /* new entries have 0 */
    return (PyObject *)self;
}

static void free_table(RecordTable *self) {
    for (size_t number = 0; number < self->num_parts; number++) {
        free_entries(&self->parts[number]);
        PyMem_Free(self->parts[number].slots);
    }
    PyMem_Free(self->parts);
    Py_XDECREF(self->last);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef methods[] = {
    {"get", (PyCFunction)(void (*)(void))get, METH_FASTCALL,
     PyDoc_STR("get(path)\n\n"
               "Return the record of a path; None if the table does not have the path.")},
    {"add", (PyCFunction)(void (*)(void))add, METH_FASTCALL,
     PyDoc_STR("add(path, record)\n\n"
               "Add a path, and return True; do nothing and return False if the table has it.")},
    {"pop", (PyCFunction)pop, METH_O,
     PyDoc_STR("pop(path)\n\n"
               "Remove a path and return its record; None if the table does not have the path.")},
    {"copy_to", (PyCFunction)(void (*)(void))copy_to, METH_FASTCALL,
     PyDoc_STR("copy_to(path, other)\n\n"
               "Copy a path and its record to another table, if that does not have the path. Raises\n"
               "KeyError if this table does not have it.")},
    {"fetch_ahead", (PyCFunction)(void (*)(void))fetch_ahead, METH_FASTCALL,
     PyDoc_STR("fetch_ahead(data, position)\n\n"
               "Tell the processor to load the memory that get() needs for the paths of the next\n"
               "32 requests, whose frames begin at data[position].")},
    {"fetch_place", (PyCFunction)fetch_place, METH_O,
     PyDoc_STR("fetch_place(path)\n\n"
               "Tell the processor to load the memory that adding a path will need.")},
    {"shrink", (PyCFunction)shrink, METH_NOARGS,
     PyDoc_STR("shrink()\n\n"
               "Reduce parts to the memory that their entries need, in one step of a limited\n"
               "length. If paths were removed, a number of calls reaches all parts.")},
    {"forget_marks", (PyCFunction)forget_marks, METH_NOARGS,
     PyDoc_STR("forget_marks()\n\n"
               "Let no path be marked. After 2,097,150 calls, no path can be marked any more.")},
    {"mark", (PyCFunction)mark, METH_O,
     PyDoc_STR("mark(path)\n\n"
               "Mark a path, until it is removed or the marks are forgotten; do nothing if the\n"
               "table does not have it.")},
    {"change", (PyCFunction)(void (*)(void))change, METH_FASTCALL,
     PyDoc_STR("change(path, record)\n\n"
               "Replace the record of a marked path, and return True; do nothing and return False\n"
               "if the path is not marked.")},
    {"drop_some", (PyCFunction)drop_some, METH_NOARGS,
     PyDoc_STR("drop_some()\n\n"
               "Drop some entries of a table that is not needed any more; return whether some\n"
               "remain.")},
    {NULL, NULL, 0, NULL},
};

static PySequenceMethods as_sequence = {.sq_contains = (objobjproc)contains};
static PyMappingMethods as_mapping = {
    .mp_length = (lenfunc)length,
    .mp_subscript = (binaryfunc)get_item,
    .mp_ass_subscript = (objobjargproc)set_item,
};

static PyTypeObject type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "zoolet.state_machine.record_table.RecordTable",
    .tp_doc = PyDoc_STR("A table from path (str) to record (bytes).\n\n"
                        "The order of the paths has no meaning. An iteration is over the paths at\n"
                        "its begin. What runs out of memory changes nothing."),
    .tp_basicsize = sizeof(RecordTable),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = new_table,
    .tp_dealloc = (destructor)free_table,
    .tp_iter = (getiterfunc)iterate,
    .tp_methods = methods,
    .tp_as_sequence = &as_sequence,
    .tp_as_mapping = &as_mapping,
};

#include "plain_znodes.h"

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "zoolet.state_machine.record_table",
    .m_doc = PyDoc_STR("The table from path to record, with little memory for each."),
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit_record_table(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && PyModule_AddType(module, &type) < 0) Py_CLEAR(module);
    return module;
}
