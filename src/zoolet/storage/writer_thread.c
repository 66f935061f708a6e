/* zoolet.storage.writer_thread: a thread that writes to files without Python's interpreter lock.
 *
 * A thread of Python needs the lock before and after each system call. While the event loop works,
 * it waits for the lock, and the event loop waits when it gets it. This thread never takes the lock.
 * docs/decisions/0118-writer-thread.md gives the reasons and the measurements.
 *
 * The slot passes through its states in this order:
 *
 *   EMPTY -> FULL      write(), on a thread of Python
 *   FULL -> WRITTEN    the writer thread, which then adds 1 to the event descriptor
 *   WRITTEN -> EMPTY   finish(), on a thread of Python
 *
 * `lock` protects the state and `is_closing`. The writer thread holds it only between two states,
 * so a thread of Python never waits for the disk. The other fields of the slot belong to the writer
 * thread while the state is FULL, and to Python's threads in the other states.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum state { EMPTY, FULL, WRITTEN };

enum { MOST_ZEROS = 1 << 20 }; /* MOST_ZEROS_BYTES of disk.py */

static char zeros[MOST_ZEROS]; /* never written, so it takes no memory */

typedef struct {
    PyObject_HEAD
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int event_fd; /* -1 after close() */
    int is_closing;
    enum state state;
    int fd;
    PyObject *data; /* the bytes that are written; NULL if the slot is empty */
    const char *begin;
    size_t size;
    size_t zero_bytes; /* written after the data; the next write overwrites them */
    int error; /* the errno of the write; 0 if it succeeded */
    int64_t took_ns;
} WriterThread;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* -- On the writer thread ---------------------------------------------------------------------- */

static int write_all(WriterThread *self) {
    while (self->size > 0) {
        struct iovec parts[] = {{(char *)self->begin, self->size}, {zeros, self->zero_bytes}};
        ssize_t written = writev(self->fd, parts, self->zero_bytes > 0 ? 2 : 1);
        if (written < 0) {
            if (errno == EINTR) continue;
            return errno;
        }
        if ((size_t)written >= self->size) {
            off_t after = (off_t)(self->size - (size_t)written); /* a full disk may get fewer zeros */
            return after != 0 && lseek(self->fd, after, SEEK_CUR) < 0 ? errno : 0;
        }
        self->begin += written;
        self->size -= (size_t)written;
    }
    return 0;
}

static void *run(void *argument) {
    WriterThread *self = argument;
    const uint64_t one = 1;
    pthread_mutex_lock(&self->lock);
    for (;;) {
        while (self->state != FULL && !self->is_closing) pthread_cond_wait(&self->changed, &self->lock);
        if (self->state != FULL) break;
        pthread_mutex_unlock(&self->lock);
        int64_t began_ns = now_ns();
        self->error = write_all(self);
        self->took_ns = now_ns() - began_ns;
        pthread_mutex_lock(&self->lock);
        self->state = WRITTEN;
        /* This cannot fail: the counter is at most 1, and the descriptor is open until the thread ends. */
        (void)!write(self->event_fd, &one, sizeof one);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

/* -- On the threads of Python ------------------------------------------------------------------- */

static int start(WriterThread *self) {
    sigset_t all, before;
    sigfillset(&all); /* signals are for the main thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&self->thread, NULL, run, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static PyObject *new_writer(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, ":WriterThread", names)) return NULL;
    WriterThread *self = (WriterThread *)type->tp_alloc(type, 0); /* all other fields are 0 */
    if (self == NULL) return NULL;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    self->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int error = self->event_fd < 0 ? errno : start(self);
    if (error) {
        if (self->event_fd >= 0) close(self->event_fd);
        self->event_fd = -1;
        Py_DECREF(self);
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)self;
}

static void stop(WriterThread *self) {
    if (self->event_fd < 0) return;
    pthread_mutex_lock(&self->lock);
    self->is_closing = 1;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->thread, NULL);
}

static PyObject *close_writer(WriterThread *self, PyObject *Py_UNUSED(none)) {
    if (self->event_fd < 0) Py_RETURN_NONE;
    Py_BEGIN_ALLOW_THREADS
    stop(self);
    Py_END_ALLOW_THREADS
    close(self->event_fd);
    self->event_fd = -1;
    Py_RETURN_NONE;
}

static void free_writer(WriterThread *self) {
    if (self->event_fd >= 0) Py_DECREF(close_writer(self, NULL));
    Py_CLEAR(self->data);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static enum state state_of(WriterThread *self) {
    pthread_mutex_lock(&self->lock);
    enum state state = self->state;
    pthread_mutex_unlock(&self->lock);
    return state;
}

static PyObject *write_data(WriterThread *self, PyObject *arguments) {
    int fd;
    PyObject *data;
    Py_ssize_t zero_bytes = 0;
    if (!PyArg_ParseTuple(arguments, "iS|n:write", &fd, &data, &zero_bytes)) return NULL;
    if (zero_bytes < 0 || zero_bytes > MOST_ZEROS) {
        PyErr_Format(PyExc_ValueError, "%zd zeros; the most are %d", zero_bytes, MOST_ZEROS);
        return NULL;
    }
    if (self->is_closing || state_of(self) != EMPTY) {
        PyErr_SetString(PyExc_RuntimeError, self->is_closing ? "the thread is closed"
                                                             : "the last write is not finished");
        return NULL;
    }
    self->data = Py_NewRef(data);
    self->fd = fd;
    self->begin = PyBytes_AS_STRING(data);
    self->size = (size_t)PyBytes_GET_SIZE(data);
    self->zero_bytes = (size_t)zero_bytes;
    pthread_mutex_lock(&self->lock);
    self->state = FULL;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
    Py_RETURN_NONE;
}

static PyObject *finish(WriterThread *self, PyObject *Py_UNUSED(none)) {
    if (state_of(self) != WRITTEN) {
        PyErr_SetString(PyExc_RuntimeError, "no write has ended");
        return NULL;
    }
    uint64_t count;
    (void)!read(self->event_fd, &count, sizeof count); /* only resets the counter */
    Py_CLEAR(self->data);
    self->state = EMPTY;
    if (self->error) {
        errno = self->error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyFloat_FromDouble((double)self->took_ns / 1e9);
}

static PyObject *fileno_of(WriterThread *self, PyObject *Py_UNUSED(none)) {
    return PyLong_FromLong(self->event_fd);
}

static PyMethodDef methods[] = {
    {"write", (PyCFunction)write_data, METH_VARARGS,
     PyDoc_STR("write(fd, data, zero_bytes=0)\n\n"
               "Begin to write all of data, which is bytes, to a descriptor that must stay open.\n"
               "Zeros are written after the data, and the next write overwrites them.\n\n"
               "Raises ValueError if there are more than a MiB of zeros, and RuntimeError if the last\n"
               "write is not finished, or after close().")},
    {"finish", (PyCFunction)finish, METH_NOARGS,
     PyDoc_STR("finish()\n\n"
               "Return how long the write took, in seconds.\n\n"
               "Raises the OSError of the write, or RuntimeError if no write has ended.")},
    {"fileno", (PyCFunction)fileno_of, METH_NOARGS,
     PyDoc_STR("fileno()\n\n"
               "Return the descriptor that is readable from the end of a write until finish().")},
    {"close", (PyCFunction)close_writer, METH_NOARGS,
     PyDoc_STR("close()\n\n"
               "End the thread after the write in progress; may be called again.")},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "zoolet.storage.writer_thread.WriterThread",
    .tp_doc = PyDoc_STR("A thread that writes to files without Python's interpreter lock.\n\n"
                        "write() begins a write, finish() takes its result. Between them, the\n"
                        "descriptor of fileno() becomes readable. Only close() waits for the disk."),
    .tp_basicsize = sizeof(WriterThread),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = new_writer,
    .tp_dealloc = (destructor)free_writer,
    .tp_methods = methods,
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "zoolet.storage.writer_thread",
    .m_doc = PyDoc_STR("A thread that writes to files without Python's interpreter lock."),
    .m_size = -1,
};

PyMODINIT_FUNC PyInit_writer_thread(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && PyModule_AddType(module, &type) < 0) Py_CLEAR(module);
    return module;
}
