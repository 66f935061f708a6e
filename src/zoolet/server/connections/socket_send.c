/* zoolet.server.connections.socket_send: sends on a socket without Python's socket object.
 *
 * Python's method releases the interpreter lock and takes it again, because a send may wait. This
 * one never waits, so it keeps the lock (docs/decisions/0123-own-send.md).
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <sys/socket.h>

static PyObject *send_now(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count) {
    if (count != 2 || !PyBytes_CheckExact(arguments[1]))
        return PyErr_Format(PyExc_TypeError, "send_now() needs a descriptor and bytes");
    long fd = PyLong_AsLong(arguments[0]);
    if (fd == -1 && PyErr_Occurred()) return NULL;
    if (fd != (int)fd) return PyErr_Format(PyExc_OverflowError, "%ld is no descriptor", fd);
    const char *data = PyBytes_AS_STRING(arguments[1]);
    size_t size = (size_t)PyBytes_GET_SIZE(arguments[1]);
    ssize_t sent = send((int)fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    return PyLong_FromSsize_t(sent < 0 ? 0 : sent);
}

static PyMethodDef functions[] = {
    {"send_now", (PyCFunction)(void (*)(void))send_now, METH_FASTCALL,
     PyDoc_STR("send_now(fd, data)\n\n"
               "Send as many of the bytes as the socket takes without waiting, and return their\n"
               "number: 0 also if the socket has failed.")},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "zoolet.server.connections.socket_send",
    .m_doc = PyDoc_STR("Sends on a socket without Python's socket object."),
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit_socket_send(void) { return PyModule_Create(&definition); }
