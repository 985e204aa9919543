#Requires -Version 5.1
<#
.SYNOPSIS
    Runs "ident-amocrm up" as a scheduled task that starts with Windows.
.DESCRIPTION
    NOT YET RUN ON A REAL WINDOWS: the script was written after the documentation of Windows 10 and
    Windows Server 2016, and only its syntax and the command lines that call it have been tested.

    "ident-amocrm service install|status|uninstall" calls it; an administrator may call it directly:

        powershell -ExecutionPolicy Bypass -File service.ps1 -Action stop
        powershell -ExecutionPolicy Bypass -File service.ps1 -Action start

    A task and not a service: a service has to answer Windows' service manager, which Python does not
    without further packages.
.PARAMETER Action
    install, status, start, stop or uninstall.
.PARAMETER Name
    Name of the task.
.PARAMETER Python
    python.exe of the environment that ident-amocrm is installed in.
.PARAMETER StateHome
    Folder of the state (ledger, keys, logs); made where it is not there.
.PARAMETER Port
    Port of the UI.
.PARAMETER Account
    Under which it runs: a user with the right to log on as a batch job; left out: LOCAL SERVICE.
.PARAMETER NoPassword
    Leave Prefect's API without a password.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)]
    [ValidateSet('install', 'status', 'start', 'stop', 'uninstall')]
    [string] $Action,

    [ValidatePattern('^[A-Za-z0-9][A-Za-z0-9_.-]*$')]
    [string] $Name = 'ident-amocrm',

    [string] $Python = '',

    [string] $StateHome = '',

    [ValidateRange(1, 65535)]
    [int] $Port = 4200,

    [string] $Account = '',

    [switch] $NoPassword
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

# Longer than up takes when its worker, its server and all beside them are slow to end.
$StopSeconds = 90
# Names of accounts are translated on a Windows that is not English, their numbers are not.
$SidSystem = 'S-1-5-18'
$SidLocalService = 'S-1-5-19'
$SidNetworkService = 'S-1-5-20'
$SidAdministrators = 'S-1-5-32-544'

function Get-Task {
    Get-ScheduledTask -TaskName $Name -TaskPath '\' -ErrorAction SilentlyContinue
}

function Get-TaskHome {
    # The folder of the state as the task was installed with it.
    param($Task)
    if ($Task -and $Task.Actions[0].Arguments -match '--home "([^"]+)"') { $Matches[1] } else { '' }
}

function Test-Up {
    # Whether up runs for a folder: it holds its lock open as long as it lives.
    param([string] $Folder)
    $lock = Join-Path $Folder 'up.lock'
    if (-not (Test-Path -LiteralPath $lock)) { return $false }
    try {
        $file = [System.IO.File]::Open($lock, 'Open', 'ReadWrite', 'None')
        $file.Close()
        return $false
    } catch [System.IO.FileNotFoundException] {
        return $false
    } catch [System.IO.IOException] {
        return $true
    }
}

function Stop-Up {
    # Windows has no SIGTERM: up ends in order when up.stop appears. Killed is only what does not.
    param($Task)
    # Or the task's own repetition would start it again.
    Disable-ScheduledTask -InputObject $Task | Out-Null
    $folder = Get-TaskHome $Task
    if ($folder -and (Test-Up $folder)) {
        $sign = Join-Path $folder 'up.stop'
        New-Item -ItemType File -Path $sign -Force | Out-Null
        $deadline = (Get-Date).AddSeconds($StopSeconds)
        while ((Test-Up $folder) -and ((Get-Date) -lt $deadline)) { Start-Sleep -Seconds 1 }
        Remove-Item -LiteralPath $sign -Force -ErrorAction SilentlyContinue
    }
    Stop-ScheduledTask -InputObject $Task
}

function Set-HomeAccess {
    # Nobody but the service, the system and administrators: the folder holds keys and passwords.
    param([string] $Folder, [string] $Sid)
    New-Item -ItemType Directory -Path $Folder -Force | Out-Null
    $full = ':(OI)(CI)F'
    & icacls.exe $Folder /inheritance:r /grant:r "*${SidSystem}$full" "*${SidAdministrators}$full" "*${Sid}$full" | Out-Null
    if ($LASTEXITCODE -ne 0) { throw "The access to $Folder could not be set (icacls: $LASTEXITCODE)." }
}

function Initialize-Home {
    # The password of Prefect's API; kept where there is one.
    param([string] $Folder)
    $env:IDENT_AMOCRM_HOME = $Folder
    $words = @('-m', 'deployments.prepare_home')
    if ($NoPassword) { $words += '--no-password' }
    & $Python @words
    if ($LASTEXITCODE -ne 0) { throw "$Python could not prepare $Folder." }
}

function Install-Up {
    if (-not (Test-Path -LiteralPath $Python -PathType Leaf)) { throw "-Python: there is no $Python." }
    if (-not [System.IO.Path]::IsPathRooted($StateHome)) { throw '-StateHome: name a whole path.' }
    $folder = $StateHome.TrimEnd('\')

    if ($Account) {
        $ntAccount = New-Object System.Security.Principal.NTAccount($Account)
        $sid = $ntAccount.Translate([System.Security.Principal.SecurityIdentifier]).Value
    } else {
        $sid = $SidLocalService
    }
    $known = New-Object System.Security.Principal.SecurityIdentifier($sid)
    $user = $known.Translate([System.Security.Principal.NTAccount]).Value
    # S4U: a user's task runs without a session of theirs, and no password of theirs is stored.
    $logon = if (@($SidSystem, $SidLocalService, $SidNetworkService) -contains $sid) { 'ServiceAccount' } else { 'S4U' }

    $old = Get-Task
    if ($old) { Stop-Up $old }
    if (Test-Up $folder) { throw "ident-amocrm up runs already for ${folder}: stop it, and install again." }

    Set-HomeAccess $folder $sid
    Initialize-Home $folder

    $log = Join-Path $folder 'logs\up.log'
    $words = '-m deployments.cli.main up --port {0} --home "{1}" --log "{2}"' -f $Port, $folder, $log
    $start = New-ScheduledTaskAction -Execute $Python -Argument $words -WorkingDirectory (Split-Path -Parent $Python)
    # Task Scheduler calls an action that ended with an error finished, too, and does not always restart it:
    # every five minutes it is started anew, and IgnoreNew drops that while it runs.
    $every = New-TimeSpan -Minutes 5
    $triggers = @(
        (New-ScheduledTaskTrigger -AtStartup),
        (New-ScheduledTaskTrigger -Once -At (Get-Date) -RepetitionInterval $every)
    )
    $principal = New-ScheduledTaskPrincipal -UserId $user -LogonType $logon -RunLevel Limited
    $settings = New-ScheduledTaskSettingsSet -MultipleInstances IgnoreNew -StartWhenAvailable `
        -RestartCount 999 -RestartInterval (New-TimeSpan -Minutes 1) `
        -ExecutionTimeLimit ([TimeSpan]::Zero) -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries
    Register-ScheduledTask -TaskName $Name -TaskPath '\' -Force -Action $start -Trigger $triggers `
        -Principal $principal -Settings $settings `
        -Description 'ident-amocrm: patients and appointments from IDENT to amoCRM' | Out-Null

    # The commands of administrators find the same state; a console that is open already does not see it.
    $variable = [Environment]::GetEnvironmentVariable('IDENT_AMOCRM_HOME', 'Machine')
    if (-not $variable) { [Environment]::SetEnvironmentVariable('IDENT_AMOCRM_HOME', $folder, 'Machine') }
    Start-ScheduledTask -TaskName $Name -TaskPath '\'
}

function Show-Standing {
    $task = Get-Task
    $found = @{ installed = $false; enabled = $false; active = $false; state = ''; home = '' }
    if ($task) {
        $found.installed = $true
        $found.enabled = [bool] $task.Settings.Enabled
        $found.state = [string] $task.State
        $found.home = Get-TaskHome $task
        $found.active = [bool] ($found.home -and (Test-Up $found.home))
    }
    $found | ConvertTo-Json -Compress
}

function Uninstall-Up {
    $task = Get-Task
    if (-not $task) { throw "There is no scheduled task $Name." }
    $folder = Get-TaskHome $task
    Stop-Up $task
    Unregister-ScheduledTask -TaskName $Name -TaskPath '\' -Confirm:$false
    $variable = [Environment]::GetEnvironmentVariable('IDENT_AMOCRM_HOME', 'Machine')
    if ($folder -and $variable -eq $folder) {
        [Environment]::SetEnvironmentVariable('IDENT_AMOCRM_HOME', $null, 'Machine')
    }
}

try {
    $identity = [System.Security.Principal.WindowsIdentity]::GetCurrent()
    $person = New-Object System.Security.Principal.WindowsPrincipal($identity)
    if (-not $person.IsInRole([System.Security.Principal.WindowsBuiltInRole]::Administrator)) {
        throw 'Only an administrator may do this.'
    }
    switch ($Action) {
        'install' { Install-Up }
        'status' { Show-Standing }
        'start' {
            Enable-ScheduledTask -TaskName $Name -TaskPath '\' | Out-Null
            Start-ScheduledTask -TaskName $Name -TaskPath '\'
        }
        'stop' {
            $task = Get-Task
            if (-not $task) { throw "There is no scheduled task $Name." }
            Stop-Up $task
        }
        'uninstall' { Uninstall-Up }
    }
} catch {
    # One line, the last one: the command line shows it.
    [Console]::Error.WriteLine($_.Exception.Message)
    exit 1
}
