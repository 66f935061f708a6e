/* zoolet.server.connections.sending_thread: a second thread that helps to send many frames.
 *
 * The caller's thread and the second thread take one frame after the other from the same job. So
 * the caller sends everything itself if the second thread gets no processor. Neither thread has
 * Python's interpreter lock meanwhile, and no send waits for a client.
 * docs/decisions/0124-sending-thread.md gives the reasons and the measurements.
 *
 * `lock` protects `job`, `is_working` and `is_closing`. A job is on the caller's stack. It ends when
 * the caller has set `job` to NULL and `is_working` is 0; the second thread forgets it before.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>

typedef struct {
    int fd;
    const char *data;
    size_t size;
    size_t sent;
} Frame;

typedef struct {
    Frame *frames;
    Py_ssize_t count;
    _Atomic Py_ssize_t next; /* the first frame that no thread has taken */
} Job;

typedef struct {
    PyObject_HEAD
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t begun; /* there is a job, or the thread must end */
    pthread_cond_t ended; /* the second thread has left a job */
    Job *job;
    int is_working; /* whether the second thread works on a job */
    int is_closing;
    int is_sending; /* whether a thread of Python is in send_each() */
} SendingThread;

static void send_frames(Job *job) {
    Py_ssize_t number;
    while ((number = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed)) < job->count) {
        Frame *frame = &job->frames[number];
        ssize_t sent = send(frame->fd, frame->data, frame->size, MSG_DONTWAIT | MSG_NOSIGNAL);
        frame->sent = sent < 0 ? 0 : (size_t)sent;
    }
}

/* -- On the second thread ----------------------------------------------------------------------- */

static void *run(void *argument) {
    SendingThread *self = argument;
    pthread_mutex_lock(&self->lock);
    while (!self->is_closing) {
        Job *job = self->job;
        if (job == NULL || atomic_load(&job->next) >= job->count) {
            pthread_cond_wait(&self->begun, &self->lock);
            continue;
        }
        self->is_working = 1;
        pthread_mutex_unlock(&self->lock);
        send_frames(job);
        pthread_mutex_lock(&self->lock);
        self->is_working = 0;
        pthread_cond_signal(&self->ended);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

/* -- On the threads of Python ------------------------------------------------------------------- */

/* Send the frames of a job, together with the second thread. */
static void send_together(SendingThread *self, Job *job) {
    pthread_mutex_lock(&self->lock);
    self->job = job;
    pthread_cond_signal(&self->begun);
    pthread_mutex_unlock(&self->lock);
    send_frames(job);
    pthread_mutex_lock(&self->lock);
    self->job = NULL;
    while (self->is_working) pthread_cond_wait(&self->ended, &self->lock); /* for one frame */
    pthread_mutex_unlock(&self->lock);
}

static int fill(Frame *frame, PyObject *descriptor, PyObject *data) {
    if (!PyBytes_CheckExact(data)) return PyErr_SetString(PyExc_TypeError, "a frame is no bytes"), -1;
    long fd = PyLong_AsLong(descriptor);
    if (fd == -1 && PyErr_Occurred()) return -1;
    if (fd != (int)fd) return PyErr_Format(PyExc_OverflowError, "%ld is no descriptor", fd), -1;
    *frame = (Frame){(int)fd, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data), 0};
    return 0;
}

/* Return a list of how many bytes of each frame were sent. */
static PyObject *sent_bytes(const Job *job) {
    PyObject *counts = PyList_New(job->count);
    for (Py_ssize_t i = 0; counts != NULL && i < job->count; i++) {
        PyObject *sent = PyLong_FromSize_t(job->frames[i].sent);
        if (sent == NULL) Py_CLEAR(counts);
        else PyList_SET_ITEM(counts, i, sent);
    }
    return counts;
}

static PyObject *send_each(SendingThread *self, PyObject *arguments) {
    PyObject *descriptors, *data, *counts = NULL;
    if (!PyArg_ParseTuple(arguments, "O!O!:send_each", &PyList_Type, &descriptors, &PyList_Type, &data))
        return NULL;
    Job job = {.count = PyList_GET_SIZE(data)};
    if (PyList_GET_SIZE(descriptors) != job.count)
        return PyErr_Format(PyExc_ValueError, "each frame needs one descriptor");
    if (self->is_closing || self->is_sending)
        return PyErr_Format(PyExc_RuntimeError, "the thread is %s", self->is_closing ? "closed" : "busy");
    job.frames = PyMem_New(Frame, job.count);
    if (job.frames == NULL) return PyErr_NoMemory();
    Py_ssize_t i = 0;
    while (i < job.count
           && !fill(&job.frames[i], PyList_GET_ITEM(descriptors, i), PyList_GET_ITEM(data, i)))
        i++;
    if (i == job.count) {
        self->is_sending = 1;
        Py_BEGIN_ALLOW_THREADS
        send_together(self, &job);
        Py_END_ALLOW_THREADS
        self->is_sending = 0;
        counts = sent_bytes(&job);
    }
    PyMem_Free(job.frames);
    return counts;
}

static int start(SendingThread *self) {
    sigset_t all, before;
    sigfillset(&all); /* signals are for the main thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&self->thread, NULL, run, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static PyObject *new_thread(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, ":SendingThread", names)) return NULL;
    SendingThread *self = (SendingThread *)type->tp_alloc(type, 0); /* all other fields are 0 */
    if (self == NULL) return NULL;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->begun, NULL);
    pthread_cond_init(&self->ended, NULL);
    int error = start(self);
    if (error) {
        self->is_closing = 1;
        Py_DECREF(self);
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)self;
}

static PyObject *close_thread(SendingThread *self, PyObject *Py_UNUSED(none)) {
    if (self->is_closing) Py_RETURN_NONE;
    if (self->is_sending) return PyErr_Format(PyExc_RuntimeError, "the thread is busy");
    pthread_mutex_lock(&self->lock);
    self->is_closing = 1;
    pthread_cond_signal(&self->begun);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->thread, NULL); /* it has no job, so this takes no time */
    Py_RETURN_NONE;
}

static void free_thread(SendingThread *self) {
    Py_XDECREF(close_thread(self, NULL));
    pthread_cond_destroy(&self->ended);
    pthread_cond_destroy(&self->begun);
    pthread_mutex_destroy(&self->lock);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef methods[] = {
    {"send_each", (PyCFunction)send_each, METH_VARARGS,
     PyDoc_STR("send_each(descriptors, frames)\n\n"
               "Send as many bytes of each frame as its socket takes without waiting. Both arguments\n"
               "are lists, which stay unchanged meanwhile; the frames are bytes. No socket may be\n"
               "there twice.\n\n"
               "Return how many bytes of each frame were sent: 0 also if the socket has failed.\n\n"
               "Raises RuntimeError after close(), and while another thread is in send_each().")},
    {"close", (PyCFunction)close_thread, METH_NOARGS,
     PyDoc_STR("close()\n\n"
               "End the thread; may be called again.")},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "zoolet.server.connections.sending_thread.SendingThread",
    .tp_doc = PyDoc_STR("A thread that helps to send many frames."),
    .tp_basicsize = sizeof(SendingThread),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = new_thread,
    .tp_dealloc = (destructor)free_thread,
    .tp_methods = methods,
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "zoolet.server.connections.sending_thread",
    .m_doc = PyDoc_STR("A second thread that helps to send many frames."),
    .m_size = -1,
};

PyMODINIT_FUNC PyInit_sending_thread(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && PyModule_AddType(module, &type) < 0) Py_CLEAR(module);
    return module;
}
