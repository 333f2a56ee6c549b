// A throwaway PostgreSQL for one test program: a cluster in a directory of its own, reached by unix socket, gone with the program. initdb
// and postgres refuse root, so as root they run as the user postgres.
#pragma once

#include <fcntl.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

class PostgresCluster {
  public:
    PostgresCluster() : binaries_(find_binaries()) {
        std::string pattern = std::filesystem::temp_directory_path() / "matrix-sync-test-XXXXXX";
        if (!mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp failed");
        directory_ = pattern;
        if (geteuid() == 0 && chown(directory_.c_str(), account()->pw_uid, account()->pw_gid) != 0)
            throw std::runtime_error("chown failed");
        int status = 0;
        waitpid(spawn({binaries_ / "initdb", "-D", directory_ / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"}),
                &status, 0);
        if (status != 0) throw std::runtime_error("initdb failed: see " + (directory_ / "log").string());
        start();
    }
    PostgresCluster(const PostgresCluster&) = delete;
    PostgresCluster& operator=(const PostgresCluster&) = delete;
    ~PostgresCluster() {
        stop(SIGQUIT);
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }

    /// Returns when it takes connections.
    void start() {
        server_ = spawn({binaries_ / "postgres", "-D", directory_ / "data", "-k", directory_, "-c", "listen_addresses=", "-c", "fsync=off",
                         "-c", "full_page_writes=off", "-c", "max_connections=50", "-c", "shared_buffers=32MB"});
        auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        while (PQping(conninfo("postgres").c_str()) != PQPING_OK) {
            if (std::chrono::steady_clock::now() > limit || waitpid(server_, nullptr, WNOHANG) != 0) {
                throw std::runtime_error("PostgreSQL did not start: see " + (directory_ / "log").string());
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    }

    /// SIGINT ends it in an orderly way, SIGQUIT as a crash does. Returns when it has ended.
    void stop(int signal) {
        if (server_ <= 0) return;
        kill(server_, signal);
        waitpid(server_, nullptr, 0);
        server_ = 0;
    }

    std::string conninfo(const std::string& database) const { return "host=" + directory_.string() + " user=postgres dbname=" + database; }

    /// The conninfo of a new, empty database.
    std::string fresh_database(const std::string& options = "") {
        std::string name = "test" + std::to_string(++databases_);
        PGconn* connection = PQconnectdb(conninfo("postgres").c_str());
        PGresult* result = PQexec(connection, ("CREATE DATABASE " + name + " TEMPLATE template0 " + options).c_str());
        bool created = PQresultStatus(result) == PGRES_COMMAND_OK;
        std::string error = PQerrorMessage(connection);
        PQclear(result);
        PQfinish(connection);
        if (!created) throw std::runtime_error("CREATE DATABASE: " + error);
        return conninfo(name);
    }

  private:
    using Path = std::filesystem::path;

    static bool has_server(const Path& directory) {
        return access((directory / "initdb").c_str(), X_OK) == 0 && access((directory / "postgres").c_str(), X_OK) == 0;
    }

    static Path find_binaries() {
        char line[4096] = "";
        if (FILE* output = popen("pg_config --bindir 2>/dev/null", "r")) {
            if (!fgets(line, sizeof line, output)) line[0] = '\0';
            pclose(output);
        }
        std::string told = line;
        while (!told.empty() && told.back() == '\n') told.pop_back();
        if (!told.empty() && has_server(told)) return told;

        Path newest;
        std::error_code ignored;
        for (const auto& version : std::filesystem::directory_iterator("/usr/lib/postgresql", ignored)) {
            Path directory = version.path() / "bin";
            if (has_server(directory) && newest < directory) newest = directory;
        }
        if (newest.empty()) throw std::runtime_error("no PostgreSQL server found: install the package postgresql");
        return newest;
    }

    static const passwd* account() {
        const passwd* found = getpwnam("postgres");
        if (!found) throw std::runtime_error("no user postgres, whom the tests need when run by root");
        return found;
    }

    /// A child that ends with this program, whatever ends it.
    pid_t spawn(const std::vector<std::string>& command) const {
        std::vector<char*> arguments;
        for (const auto& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
        arguments.push_back(nullptr);
        const passwd* user = geteuid() == 0 ? account() : nullptr;

        pid_t child = fork();
        if (child != 0) return child;
        int log = open((directory_ / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        bool ready = chdir("/") == 0;
        if (user) ready = ready && setgroups(0, nullptr) == 0 && setgid(user->pw_gid) == 0 && setuid(user->pw_uid) == 0;
        prctl(PR_SET_PDEATHSIG, SIGQUIT);
        if (ready) execv(arguments[0], arguments.data());
        _exit(127);
    }

    Path binaries_;
    Path directory_;
    pid_t server_ = 0;
    int databases_ = 0;
};

/// The program's own cluster, started when first asked for.
inline PostgresCluster& postgres() {
    static PostgresCluster cluster;
    return cluster;
}
