/* Preloaded into Orthanc: the threads of Debian's civetweb have stacks of 100 KiB, gdcm 3.0.21 puts 130 KiB on them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

int pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size)
{
    int (*set)(pthread_attr_t *, size_t) = (int (*)(pthread_attr_t *, size_t))dlsym(RTLD_NEXT, "pthread_attr_setstacksize");
    return set(attributes, size < 1 << 20 ? 1 << 20 : size);
}
