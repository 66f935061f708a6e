/* The entries of a RecordTable, and the parts that have their addresses (record_table.c).
 *
 * An entry is a block of memory: a reference to the path, and the bytes of the record without the
 * header of an object. Of a record, the length of its data is stored once: a record has it twice.
 * Of the Stat of a znode that was only created, the first zxid and the first time are stored.
 * Bytes that are not such a record, and long records, stay objects: then reading copies nothing.
 *
 * A part is an array of slots (open addressing, linear probing). A slot is the address of an entry.
 * The lowest bits of an address are 0, so the slot has bits of the hash there: a search seldom
 * reads an entry with another path.
 *
 * Invariants: a part always has an EMPTY slot. All paths are of the type str itself, so no function
 * here runs Python code.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A record: the length of the data, the data, and the Stat. */
enum {
    LENGTH_BYTES = 4,
    BEFORE_LENGTH = 52, /* the bytes of the Stat before its own length of the data */
    BEHIND_LENGTH = 12,
    STAT_BYTES = BEFORE_LENGTH + LENGTH_BYTES + BEHIND_LENGTH,
    RECORD_BYTES = LENGTH_BYTES + STAT_BYTES, /* without data */
    MOST_PACKED_BYTES = 436, /* of data: then an entry has 512 bytes, the most of pymalloc */
    AS_OBJECT = -2,          /* instead of a length: the record is an object */
};

/* In the Stat: czxid, mzxid, ctime, mtime, numbers, the length of the data, numChildren, pzxid. */
enum {
    ZXID_BYTES = 8,
    TIME_BYTES = 8,
    MZXID = ZXID_BYTES,
    CTIME = MZXID + ZXID_BYTES,
    MTIME = CTIME + TIME_BYTES,
    NUMBERS = MTIME + TIME_BYTES, /* the versions and the owner */
    NUM_CHILDREN = BEFORE_LENGTH + LENGTH_BYTES,
    PZXID = NUM_CHILDREN + 4,
    CREATED_BYTES = ZXID_BYTES + TIME_BYTES, /* what is stored of a znode that was only created */
};

enum {
    LEAST_SLOTS = 8,
    AHEAD = 16, /* the number of slots for which memory is fetched ahead */
};

/* For what every read calls: the calls would be a tenth of the instructions of get(). */
#define INLINED static inline __attribute__((always_inline))

typedef uintptr_t Slot;
#define EMPTY ((Slot)0)
#define REMOVED ((Slot)1) /* an entry was there, and a search must go on */

/* The bits of a slot that are 0 in an address; they have the same bits of the hash, the tag. Python's
 * allocators align blocks to two pointers. Of 64 bits, they do not use the highest 16 either. */
#define LOW_TAG_BITS (sizeof(void *) == 8 ? 4 : 3)
#define LOW_TAG_MASK ((uint64_t)(2 * sizeof(void *) - 1))
#define TAG_MASK ((Slot)(0xFFFF000000000000u | LOW_TAG_MASK))

/* A mark is a number, so that all marks of a table can be forgotten without reading its entries. */
typedef struct {
    PyObject *path;
    int32_t data_length : 10; /* -1 if the data are null; AS_OBJECT */
    uint32_t is_created : 1;  /* the znode was only created: all else in its Stat follows from that */
    uint32_t mark : 21;
    char rest[]; /* data, and Stat without its length of the data, or with CREATED_BYTES only */
} Entry;

typedef struct {
    PyObject *path;
    int32_t data_length : 10; /* AS_OBJECT */
    uint32_t is_created : 1;  /* 0 */
    uint32_t mark : 21;
    PyObject *record;
} EntryOfObject;

#define MOST_MARKS (((uint32_t)1 << 21) - 1)

typedef struct {
    Slot *slots;
    uint32_t num_slots;
    uint32_t num_used; /* the number of slots that are not EMPTY */
    uint32_t num_entries;
} Part;

/* -- Entries ----------------------------------------------------------------------------------- */

static uint32_t read_be(const char *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return PY_BIG_ENDIAN ? value : __builtin_bswap32(value);
}

static void write_be(char *at, uint32_t value) {
    if (PY_LITTLE_ENDIAN) value = __builtin_bswap32(value);
    memcpy(at, &value, sizeof value);
}

/* Return the length of a record's data, or AS_OBJECT if the record must stay an object. */
static int32_t packed_length(PyObject *record) {
    Py_ssize_t data_bytes = PyBytes_GET_SIZE(record) - RECORD_BYTES;
    if (data_bytes < 0 || data_bytes > MOST_PACKED_BYTES) return AS_OBJECT;
    const char *bytes = PyBytes_AS_STRING(record);
    uint32_t length = read_be(bytes);
    uint32_t in_stat = read_be(bytes + LENGTH_BYTES + data_bytes + BEFORE_LENGTH);
    if (in_stat != (uint32_t)data_bytes) return AS_OBJECT;
    if (length == (uint32_t)data_bytes) return (int32_t)data_bytes;
    return length == UINT32_MAX && data_bytes == 0 ? -1 : AS_OBJECT;
}

static size_t data_bytes_of(int32_t data_length) {
    return data_length < 0 ? 0 : (size_t)data_length;
}

/* Return whether a Stat is that of a znode without an owner since it was created. */
static int is_created(const char *stat) {
    static const char none[BEFORE_LENGTH - NUMBERS];
    return memcmp(stat + MZXID, stat, ZXID_BYTES) == 0 &&
           memcmp(stat + PZXID, stat, ZXID_BYTES) == 0 &&
           memcmp(stat + MTIME, stat + CTIME, TIME_BYTES) == 0 &&
           memcmp(stat + NUMBERS, none, sizeof none) == 0 && read_be(stat + NUM_CHILDREN) == 0;
}

static const char *stat_in(PyObject *record, int32_t data_length) {
    return PyBytes_AS_STRING(record) + LENGTH_BYTES + data_bytes_of(data_length);
}

/* Set the form of an entry for a record, which is packed next, if it can be packed. */
static void set_form(Entry *entry, PyObject *record) {
    entry->data_length = packed_length(record);
    entry->is_created =
        entry->data_length != AS_OBJECT && is_created(stat_in(record, entry->data_length));
}

static void pack(Entry *entry, PyObject *record) {
    size_t data_bytes = data_bytes_of(entry->data_length);
    const char *stat = stat_in(record, entry->data_length);
    memcpy(entry->rest, PyBytes_AS_STRING(record) + LENGTH_BYTES, data_bytes);
    char *to = entry->rest + data_bytes;
    if (entry->is_created) {
        memcpy(to, stat, ZXID_BYTES);
        memcpy(to + ZXID_BYTES, stat + CTIME, TIME_BYTES);
    } else {
        memcpy(to, stat, BEFORE_LENGTH);
        memcpy(to + BEFORE_LENGTH, stat + NUM_CHILDREN, BEHIND_LENGTH);
    }
}

/* Write the whole Stat of an entry that is not an object. */
INLINED void unpack_stat(char *stat, const Entry *entry) {
    size_t data_bytes = data_bytes_of(entry->data_length);
    const char *from = entry->rest + data_bytes;
    if (entry->is_created) {
        memcpy(stat, from, ZXID_BYTES);
        memcpy(stat + MZXID, from, ZXID_BYTES);
        memcpy(stat + CTIME, from + ZXID_BYTES, TIME_BYTES);
        memcpy(stat + MTIME, from + ZXID_BYTES, TIME_BYTES);
        memset(stat + NUMBERS, 0, PZXID - NUMBERS);
        memcpy(stat + PZXID, from, ZXID_BYTES);
    } else {
        memcpy(stat, from, BEFORE_LENGTH);
        memcpy(stat + NUM_CHILDREN, from + BEFORE_LENGTH, BEHIND_LENGTH);
    }
    write_be(stat + BEFORE_LENGTH, (uint32_t)data_bytes);
}

/* Return `*last`, or a new object in its place, for bytes that the caller will write.
 *
 * A reply is copied before the next request is read. So the last record is often in use nowhere
 * else (one reference), and becomes the next one: this saves an allocation for each read. */
INLINED PyObject *bytes_to_fill(PyObject **last, Py_ssize_t size) {
    PyObject *bytes = *last;
    if (bytes != NULL && Py_REFCNT(bytes) == 1 && PyBytes_GET_SIZE(bytes) == size) {
        _Py_COMP_DIAG_PUSH
        _Py_COMP_DIAG_IGNORE_DEPR_DECLS
        ((PyBytesObject *)bytes)->ob_shash = -1; /* not known */
        _Py_COMP_DIAG_POP
        return bytes;
    }
    bytes = PyBytes_FromStringAndSize(NULL, size);
    if (bytes != NULL) Py_XSETREF(*last, bytes);
    return bytes;
}

/* Return a new reference to the record of an entry; `*last` is the last result, or NULL. */
INLINED PyObject *record_of(const Entry *entry, PyObject **last) {
    int32_t length = entry->data_length;
    if (length == AS_OBJECT) return Py_NewRef(((const EntryOfObject *)entry)->record);
    size_t data_bytes = data_bytes_of(length);
    PyObject *record = bytes_to_fill(last, (Py_ssize_t)(RECORD_BYTES + data_bytes));
    if (record == NULL) return NULL;
    char *to = PyBytes_AS_STRING(record);
    write_be(to, (uint32_t)length);
    memcpy(to + LENGTH_BYTES, entry->rest, data_bytes);
    unpack_stat(to + LENGTH_BYTES + data_bytes, entry);
    return Py_NewRef(record);
}

static size_t size_of_entry(const Entry *form) {
    if (form->data_length == AS_OBJECT) return sizeof(EntryOfObject);
    return offsetof(Entry, rest) + data_bytes_of(form->data_length) +
           (form->is_created ? CREATED_BYTES : BEFORE_LENGTH + BEHIND_LENGTH);
}

static Entry *new_entry(PyObject *path, PyObject *record) {
    Entry form = {.path = path};
    set_form(&form, record);
    Entry *entry = PyObject_Malloc(size_of_entry(&form));
    if (entry == NULL) return (Entry *)PyErr_NoMemory();
    if ((Slot)entry & TAG_MASK) {
        PyObject_Free(entry);
        PyErr_SetString(PyExc_SystemError, "an address of memory has bits that should be 0");
        return NULL;
    }
    *entry = form;
    Py_INCREF(path);
    if (entry->data_length == AS_OBJECT)
        ((EntryOfObject *)entry)->record = Py_NewRef(record);
    else
        pack(entry, record);
    return entry;
}

static Entry *copy_of(const Entry *entry) {
    size_t size = size_of_entry(entry);
    Entry *copy = PyObject_Malloc(size);
    if (copy == NULL) return (Entry *)PyErr_NoMemory();
    memcpy(copy, entry, size);
    copy->mark = 0;
    Py_INCREF(copy->path);
    if (copy->data_length == AS_OBJECT) Py_INCREF(((EntryOfObject *)copy)->record);
    return copy;
}

static void free_entry(Entry *entry) {
    if (entry->data_length == AS_OBJECT) Py_DECREF(((EntryOfObject *)entry)->record);
    Py_DECREF(entry->path);
    PyObject_Free(entry);
}

/* -- Hashes ------------------------------------------------------------------------------------ */

/* The lowest bits are in the tag; the next bits select the part; the highest 16 select the slot. With
 * 64 bits, the tag has them too, so a part can grow without reading its entries. */
static uint64_t mixed(Py_hash_t hash) {
    return (uint64_t)hash * 0x9E3779B97F4A7C15u; /* 64 bits, also if a hash has only 32 */
}

static uint64_t hash_of(PyObject *path) {
    Py_hash_t known = ((PyASCIIObject *)path)->hash; /* -1: not known */
    /* PyObject_Hash cannot fail: the type is str itself. */
    return mixed(known != -1 ? known : PyObject_Hash(path));
}

static Slot tag_of(uint64_t hash) { return (Slot)hash & TAG_MASK; }

/* Return whether the entry of a slot may have the hash of a tag. */
INLINED int has_tag(Slot slot, Slot tag) { return (slot & TAG_MASK) == tag && slot != REMOVED; }

static Entry *entry_in(Slot slot) { return (Entry *)(slot & ~TAG_MASK); }

static Slot first_slot(const Part *part, uint64_t hash) {
    return (Slot)((hash >> 48) * part->num_slots >> 16);
}

/* Return whether two str are equal, of which each has a hash, so its parts are ready. */
static int are_equal(PyObject *one, PyObject *other) {
    Py_ssize_t length = PyUnicode_GET_LENGTH(one);
    return one == other || (length == PyUnicode_GET_LENGTH(other) &&
                            PyUnicode_KIND(one) == PyUnicode_KIND(other) &&
                            memcmp(PyUnicode_DATA(one), PyUnicode_DATA(other),
                                   (size_t)length * PyUnicode_KIND(one)) == 0);
}

/* Return the slot that has a path; NULL if the part does not have the path. */
INLINED Slot *find(const Part *part, PyObject *path, uint64_t hash) {
    Slot *slot = part->slots + first_slot(part, hash), *end = part->slots + part->num_slots;
    Slot tag = tag_of(hash);
    for (; *slot != EMPTY; slot = slot + 1 < end ? slot + 1 : part->slots) {
        if (!has_tag(*slot, tag)) continue;
        const Entry *entry = entry_in(*slot);
        __builtin_prefetch((const char *)entry + 64); /* together with the entry and its path */
        __builtin_prefetch((const char *)entry + 128);
        if (are_equal(entry->path, path)) return slot;
    }
    return NULL;
}

/* Return the first entry that may have the path with a hash; NULL if it is not found at once. */
static const Entry *likely_entry(const Part *part, uint64_t hash) {
    const Slot *slot = part->slots + first_slot(part, hash), *end = part->slots + part->num_slots;
    Slot tag = tag_of(hash);
    for (; slot < end && *slot != EMPTY; slot++)
        if (has_tag(*slot, tag)) return entry_in(*slot);
    return NULL;
}

/* -- Parts ------------------------------------------------------------------------------------- */

/* Make a part for a number of entries, and some more; return -1 if the memory is missing. */
static int make_part(Part *part, size_t num_entries) {
    size_t num_slots = num_entries * 8 / 5 + LEAST_SLOTS;
    part->slots = PyMem_Calloc(num_slots, sizeof(Slot));
    part->num_slots = (uint32_t)num_slots;
    part->num_used = part->num_entries = 0;
    return part->slots == NULL ? -1 : 0;
}

static void put(Part *part, Slot filled, uint64_t hash) {
    Slot *slot = part->slots + first_slot(part, hash), *end = part->slots + part->num_slots;
    while (*slot != EMPTY) slot = slot + 1 < end ? slot + 1 : part->slots;
    *slot = filled;
    part->num_used++;
    part->num_entries++;
}

/* Return the entry of a slot, or NULL, and fetch the memory of later ones ahead. */
static Entry *entry_at(const Part *part, uint32_t at) {
    if (at + 2 * AHEAD < part->num_slots) {
        __builtin_prefetch(entry_in(part->slots[at + 2 * AHEAD]));
        Slot nearer = part->slots[at + AHEAD];
        if (nearer > REMOVED) __builtin_prefetch(entry_in(nearer)->path);
    }
    return part->slots[at] > REMOVED ? entry_in(part->slots[at]) : NULL;
}

/* Free all entries of a part. */
static void free_entries(Part *part) {
    for (uint32_t at = 0; at < part->num_slots; at++) {
        Entry *entry = entry_at(part, at);
        if (entry != NULL) free_entry(entry);
        part->slots[at] = EMPTY;
    }
    part->num_used = part->num_entries = 0;
}

/* Put all entries of a part into two others: into `set` if their hash has the bit. */
static void move_entries(const Part *from, Part *clear, Part *set, uint64_t bit) {
    for (uint32_t at = 0; at < from->num_slots; at++) {
        Entry *entry = entry_at(from, at);
        if (entry == NULL) continue;
        uint64_t hash = hash_of(entry->path);
        put(hash & bit ? set : clear, from->slots[at], hash);
    }
}

static uint32_t count_with(const Part *part, uint64_t bit) {
    uint32_t count = 0;
    for (uint32_t at = 0; at < part->num_slots; at++) {
        Entry *entry = entry_at(part, at);
        if (entry != NULL && hash_of(entry->path) & bit) count++;
    }
    return count;
}

/* Give a part as many slots as its entries need; return -1 if the memory is missing. */
static int resize(Part *part) {
    Part made;
    if (make_part(&made, part->num_entries) < 0) return -1;
    if (sizeof(Slot) < sizeof(uint64_t)) move_entries(part, &made, &made, 0);
    for (uint32_t at = 0; sizeof(Slot) == sizeof(uint64_t) && at < part->num_slots; at++)
        if (part->slots[at] > REMOVED) put(&made, part->slots[at], part->slots[at]);
    PyMem_Free(part->slots);
    *part = made;
    return 0;
}
