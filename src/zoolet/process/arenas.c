/* zoolet.process.arenas: makes memory for Python's objects ready, on a thread of its own.
 *
 * Python's allocator takes its memory from the system in arenas of 1 MiB. The system clears each
 * page when it is used first. While a program makes many objects, this thread uses the pages of
 * some arenas before the program needs them. docs/decisions/0125-memory-made-ready.md gives the
 * reasons and the measurements.
 *
 * `lock` protects `ready`, `num_ready` and `is_ending`. The interpreter lock protects the others:
 * Python takes arenas with this lock. After a fork, the child has no such thread. It uses up the
 * arenas that are ready, or none if `lock` was taken, and then asks the system as before.
 */
#include <Python.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>

enum {
    ARENA_BYTES = 1 << 20,
    POOL_BYTES = 1 << 14, /* Python uses only whole, aligned pools of an arena */
    PAGE_BYTES = 4096,    /* the least of all systems */
    MOST_READY = 16,
    STARTS_AT = 16, /* the thread starts with this arena: fewer are not worth it */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static void *ready[MOST_READY];
static int num_ready, is_ending;

static PyObjectArenaAllocator system_arenas;
static pthread_t thread;
static int num_begun, num_taken, has_thread;

/* -- On the thread ------------------------------------------------------------------------------ */

static void *new_arena(void) {
    char *arena = system_arenas.alloc(system_arenas.ctx, ARENA_BYTES);
    if (arena == NULL) return NULL;
    size_t unused = -(uintptr_t)arena % POOL_BYTES; /* before the first pool */
    size_t end = unused == 0 ? ARENA_BYTES : ARENA_BYTES - POOL_BYTES + unused;
    for (size_t at = unused; at < end; at += PAGE_BYTES) ((volatile char *)arena)[at] = 0;
    return arena;
}

static void *run(void *Py_UNUSED(argument)) {
    pthread_mutex_lock(&lock);
    while (!is_ending) {
        if (num_ready == MOST_READY) {
            pthread_cond_wait(&changed, &lock);
            continue;
        }
        pthread_mutex_unlock(&lock);
        void *arena = new_arena();
        pthread_mutex_lock(&lock);
        if (arena == NULL) break; /* Python asks the system again, and reports the failure */
        ready[num_ready++] = arena;
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* -- On the threads of Python ------------------------------------------------------------------- */

static void start_thread(void) {
    sigset_t all, before;
    sigfillset(&all); /* signals are for the main thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    has_thread = pthread_create(&thread, NULL, run, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Return an arena that is ready; NULL if there is none, without waiting for one. */
static void *take_ready(void) {
    void *arena = NULL;
    if (pthread_mutex_trylock(&lock)) return NULL;
    if (num_ready > 0) {
        arena = ready[--num_ready];
        pthread_cond_signal(&changed);
    }
    pthread_mutex_unlock(&lock);
    return arena;
}

static void *take(void *context, size_t size) {
    if (size == ARENA_BYTES) {
        if (++num_taken == STARTS_AT) start_thread();
        void *arena = has_thread ? take_ready() : NULL;
        if (arena != NULL) return arena;
    }
    return system_arenas.alloc(context, size);
}

static PyObject *begin(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none)) {
    if (num_begun++ > 0) Py_RETURN_NONE;
    num_taken = is_ending = 0;
    PyObject_GetArenaAllocator(&system_arenas);
    PyObjectArenaAllocator ours = {system_arenas.ctx, take, system_arenas.free};
    PyObject_SetArenaAllocator(&ours);
    Py_RETURN_NONE;
}

static PyObject *end(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none)) {
    if (num_begun == 0) return PyErr_Format(PyExc_RuntimeError, "end() without begin()");
    if (--num_begun > 0) Py_RETURN_NONE;
    PyObject_SetArenaAllocator(&system_arenas);
    if (has_thread) {
        pthread_mutex_lock(&lock);
        is_ending = 1;
        pthread_cond_signal(&changed);
        pthread_mutex_unlock(&lock);
        pthread_join(thread, NULL); /* it needs at most the time of one arena */
        has_thread = 0;
    }
    while (num_ready > 0) system_arenas.free(system_arenas.ctx, ready[--num_ready], ARENA_BYTES);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"begin", begin, METH_NOARGS,
     PyDoc_STR("begin()\n\n"
               "Have memory made ready for new objects, until end() was called as often as this.")},
    {"end", end, METH_NOARGS,
     PyDoc_STR("end()\n\n"
               "Return the memory that was made ready in vain to the system.\n\n"
               "Raises RuntimeError without begin().")},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "zoolet.process.arenas",
    .m_doc = PyDoc_STR("Makes memory for Python's objects ready, on a thread of its own."),
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit_arenas(void) { return PyModule_Create(&definition); }
