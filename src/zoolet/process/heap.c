/* Returns free memory of the C library to the system. glibc keeps it otherwise: of an import, for
 * example, the buffers in which modules were read stay between small blocks that are in use. */

#include <Python.h>
#include <malloc.h>

static PyObject *trim(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none)) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"trim", trim, METH_NOARGS,
     PyDoc_STR("trim()\n\n"
               "Return the free pages of the heap to the system.\n\n"
               "Does nothing if the C library is not glibc.")},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "zoolet.process.heap",
    .m_doc = PyDoc_STR("Returns free memory of the C library to the system."),
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit_heap(void) { return PyModule_Create(&definition); }
